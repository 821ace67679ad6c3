"""What the log tells of why attempts fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coalmine.gateway.failures import AGAIN, KEPT, FailureLog
from coalmine.guardrails import Attempt, Outcome
from coalmine.routing import Arm

FAILED = Attempt(at=1000.0, service="chat", release="v2", arm=Arm.CANDIDATE,
                 deployment="green-1", outcome=Outcome.ERROR)


def test_a_cause_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    for second in range(61):
        failures.note(replace(FAILED, at=1000.0 + second), "APIError 500")
    assert [record.getMessage() for record in caplog.records] == [
        "an attempt at 'green-1' (release 'v2' of 'chat') counts as error: APIError 500",
        "an attempt at 'green-1' (release 'v2' of 'chat') counts as error: APIError 500, "
        "59 more like it since the last line",
    ]
    assert AGAIN == 60


def test_another_cause_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    failures.note(FAILED, "APIError 500")
    failures.note(FAILED, "Timeout 408")
    failures.note(replace(FAILED, deployment="green-2"), "APIError 500")
    assert len(caplog.records) == 3


def test_made_up_groups_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    for number in range(3 * KEPT):
        failures.note(replace(FAILED, service=f"s{number}"), "APIError 500")
    assert len(failures._told) <= KEPT


def test_a_clock_that_is_set_back_silences_nothing(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    failures.note(FAILED, "APIError 500")
    failures.note(replace(FAILED, at=FAILED.at - 3600), "APIError 500")
    assert len(caplog.records) == 2

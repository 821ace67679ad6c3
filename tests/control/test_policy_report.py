"""What people are told of a policy file that is not as it should be."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.policy_report import SHOWN, PolicyReport
from coalmine.routing import Phase

Make = Callable[..., Any]
ERRORS = ("coalmine.yaml:3: services.chat.stabel: unknown key", "coalmine.yaml:6: slot: no slot")
BROKEN = PolicyReport("error", "coalmine.yaml", ERRORS, 1_700_000_000.0, in_force=False)
LATER = PolicyReport("error", "coalmine.yaml", ERRORS[:1], 1_700_000_000.0)
LATE = PolicyReport("restart_needed", "coalmine.yaml", (), 1_700_000_000.0, in_force=False)


def test_while_all_is_well_nothing_is_told(api: Make) -> None:
    """The documents are what they were."""
    served = api()
    assert "policy" not in served.get("/api/services").json()
    assert "policy" not in served.get("/api/services/chat").json()


@pytest.mark.parametrize("path", ["/api/services", "/api/services/chat", "/api/deployments"])
def test_errors_of_the_file_come_with_what_is_read(api: Make, path: str) -> None:
    """How many, the first of them, since when, and what to do."""
    told = api(report=lambda: BROKEN).get(path).json()["policy"]
    assert (told["status"], told["count"], told["in_force"]) == ("error", 2, False)
    assert told["errors"] == list(ERRORS)
    assert told["since"] == "2023-11-14T22:13:20.000Z"
    assert told["message"] == ("the policy coalmine.yaml has 2 errors and is not in force: stable "
                               "is served, nothing can be started")
    assert "coalmine lint coalmine.yaml" in told["hint"]


def test_of_many_errors_the_first_are_told() -> None:
    """Lint tells all."""
    told = PolicyReport("error", "p", tuple(map(str, range(99)))).document()
    assert told is not None
    assert (told["count"], len(told["errors"])) == (99, SHOWN)


def test_a_start_without_a_policy_in_force_is_refused_with_the_errors(
    api: Make, error_of: Make
) -> None:
    """Not as if nobody had written one; for services of the last snapshot and unknown ones."""
    served = api(Phase.IDLE, report=lambda: BROKEN)
    for name in ("chat", "chta"):
        error = error_of(served.post(f"/api/services/{name}/start", {"release": "v2"}), 409,
                         "policy_broken")
        assert "has 2 errors and is not in force" in error["message"]
        assert ERRORS[0] in error["message"]
        assert "coalmine lint coalmine.yaml" in error["hint"]
    assert served.get("/api/services/chat").json()["phase"] == "idle"


@pytest.mark.parametrize(("report", "words"), [
    (BROKEN, "has 2 errors"), (LATE, "restart the proxy"),
])
def test_a_service_that_nobody_knows_says_that_the_policy_is_to_blame(
    api: Make, error_of: Make, report: PolicyReport, words: str
) -> None:
    """There is a policy, so "no policy" would send people the wrong way."""
    served = api(report=lambda: report, phase=Phase.IDLE)
    assert words in error_of(served.get("/api/services/chta"), 404, "not_found")["hint"]


def test_a_start_with_the_last_good_policy_says_so(api: Make) -> None:
    """It is possible: what is wrong now may be a change for later."""
    answer = api(report=lambda: LATER).post("/api/services/chat/start", {"release": "v2"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["note"] == (
        "the policy coalmine.yaml has 1 error; the last good one is in force")


def test_a_rollback_does_not_mind(api: Make) -> None:
    """Whatever is wrong with the file, the way back is open."""
    answer = api(Phase.CANARY, report=lambda: BROKEN).post("/api/services/chat/rollback", {})
    assert (answer.status_code, answer.json()["phase"]) == (200, "rolling_back")

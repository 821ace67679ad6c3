"""What an attempt tells of its turn. How attempts open and close: tests/integration."""

from typing import Any

import pytest

from coalmine.gateway.attempts import Accounts
from coalmine.gateway.fleet import EMPTY
from coalmine.guardrails import Attempt, Outcome


class Sink:
    """Keeps attempts that have ended."""

    def __init__(self) -> None:
        self.ended: list[Attempt] = []

    def wait(self, attempt: Attempt) -> int:
        return 0

    def void(self, waited: int) -> None:
        raise AssertionError("nothing waits")

    def add(self, attempt: Attempt, waited: int | None = None) -> None:
        self.ended.append(attempt)


@pytest.mark.anyio
async def test_all_attempts_of_a_first_turn_say_so_and_no_later_ones(here: Any, mono: Any) -> None:
    """Also those of a retry."""
    sink = Sink()
    accounts = Accounts(sink=sink, count=here.count, plan=here.follower.plan, fleet=lambda: EMPTY,
                        wall=here.clock, mono=mono)
    for _ in range(2):
        turn = await here.say("Hi", session="a")
        for _ in range(2):
            accounts.opened(turn, "d1", "acompletion")
            accounts.failed(turn, ConnectionError("refused"), "acompletion")
    assert [attempt.first_turn for attempt in sink.ended] == [True, True, False, False]
    assert {attempt.outcome for attempt in sink.ended} == {Outcome.ERROR}
    assert accounts.in_flight() == {}

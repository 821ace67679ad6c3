"""What an attempt tells of its turn. How attempts open and close: tests/integration."""

from typing import Any

import pytest

from coalmine.gateway.attempts import Accounts
from coalmine.gateway.fleet import EMPTY, Fleet, Place
from coalmine.gateway.turns import Turns
from coalmine.guardrails import Attempt, Outcome
from coalmine.release import Slot
from coalmine.rollout import Start
from coalmine.routing import Arm

PLACES = Fleet(
    {"b1": Place("chat", Slot.BLUE, "chat"), "g1": Place("chat", Slot.GREEN, "chat.green")},
    {}, {"chat.green": "chat"}, {"b1": "chat", "g1": "chat.green", "x1": "code"},
)


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


@pytest.mark.anyio
async def test_a_conversation_that_the_cache_answers_first_has_begun_all_the_same(
    during: Any, mono: Any
) -> None:
    """No attempt, but one conversation of the split; once, and by its first turn."""
    here = during(Start)
    sink = Sink()
    accounts = Accounts(sink=sink, count=here.count, plan=here.follower.plan, fleet=lambda: PLACES,
                        wall=here.clock, mono=mono)
    for _ in range(2):
        turn = await here.say("Hi", session="a")
        accounts.opened(turn, "b1", "acompletion")
        accounts.cached(turn)
        accounts.cached(turn)
    (began,) = sink.ended
    assert (began.outcome, began.first_turn, began.evidence) == (Outcome.WAITING, True, True)
    assert began.conversation
    assert (began.ttft, began.seconds) == (None, 0.0)
    assert accounts.in_flight() == {}


@pytest.fixture
def tried(during: Any, mono: Any) -> Any:
    """What is counted when a model is called in canary, at deployments each of which fails."""
    here = during(Start)
    sink = Sink()
    accounts = Accounts(sink=sink, count=here.count, plan=here.follower.plan, fleet=lambda: PLACES,
                        wall=here.clock, mono=mono)

    def call(model: str, *deployments: str, admin: bool = True) -> list[Attempt]:
        turn = Turns().begin({"model": model}, model, "chat", mono.now)
        turn.admin = turn.tries = admin
        sink.ended.clear()
        for deployment in deployments:
            accounts.opened(turn, deployment, "acompletion")
            assert set(accounts.in_flight().values()) == {1}
            accounts.failed(turn, ConnectionError("refused"), "acompletion")
        assert accounts.in_flight() == {}
        return list(sink.ended)

    return call


def test_an_admins_call_of_a_slot_counts_under_its_service_and_for_no_arm(tried: Any) -> None:
    """Also its retries: what an admin tries out moves no guardrail."""
    told = [(a.service, a.release, a.arm, a.deployment, a.evidence)
            for a in tried("chat.green", "g1", "g1", "b1")]
    assert told == [("chat", "v2", None, "g1", False), ("chat", "v2", None, "g1", False),
                    ("chat", "v1", None, "b1", False)]


def test_what_belongs_to_no_service_counts_under_its_group(tried: Any) -> None:
    """Whoever calls it, by whatever name."""
    assert [(a.service, a.release, a.arm) for a in tried("wild/x", "x1", "?", admin=False)] == [
        ("code", "", None), ("other", "", None)]


def test_each_attempt_without_an_arm_counts_where_it_goes(tried: Any) -> None:
    """Also behind a fallback from one group to another."""
    assert [(a.service, a.release) for a in tried("wild/x", "b1", "x1", "g1", admin=False)] == [
        ("chat", "v1"), ("code", ""), ("chat", "v2")]


def test_nobody_counts_against_the_candidate_to_whom_it_was_not_given(tried: Any) -> None:
    """A group that also holds deployments of no service lets clients through (it is warned of)."""
    told = [(a.service, a.release, a.arm) for a in tried("mixed", "g1", "b1", admin=False)]
    assert told == [("chat", "v2", None), ("chat", "v1", Arm.STABLE)]


@pytest.mark.anyio
async def test_an_admins_conversation_with_the_service_counts_like_any(
    during: Any, mono: Any
) -> None:
    """It was given an arm as all are."""
    here = during(Start)
    sink = Sink()
    accounts = Accounts(sink=sink, count=here.count, plan=here.follower.plan, fleet=lambda: PLACES,
                        wall=here.clock, mono=mono)
    _, turn = await here.on_candidate()
    turn.admin = True
    accounts.opened(turn, "g1", "acompletion")
    accounts.failed(turn, ConnectionError("refused"), "acompletion")
    assert [(a.arm, a.evidence) for a in sink.ended] == [(Arm.CANDIDATE, True)]

"""The circuit breaker: what one worker sees is enough to cut off a candidate that fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.guardrails.outcomes import failures, turns

from coalmine.gateway.circuit_breaker import BAR, CircuitBreaker
from coalmine.guardrails import Outcome
from coalmine.release import CoalmineError
from coalmine.rollout import ServicePolicy, Start, apply, first_state
from coalmine.rollout.service import Rollout

BEGAN = 1000.0


def rollout(number: int = 1, **fields: Any) -> Rollout:
    rules = ServicePolicy.model_validate({
        "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}, "stable": "v1",
        "guardrails": [], **fields})
    service = first_state("chat", rules, BEGAN).model_copy(update={"rollouts": number - 1})
    began = apply(service, Start(at=BEGAN, who="ann", release="v2", policy=rules)).rollout
    assert began is not None
    return began


class Case:
    """A breaker, the rollout it sees, and what it did."""

    def __init__(self) -> None:
        self.rollout: Rollout | None = rollout()
        self.tripped: list[tuple[str, str, dict[str, Any]]] = []
        self.refused: CoalmineError | None = None
        self.breaker = CircuitBreaker(lambda service: self.rollout, self._trip)
        self._number = 0

    def _trip(self, service: str, rollout: str, reason: str, figures: dict[str, Any]) -> None:
        if self.refused is not None:
            raise self.refused
        assert self.rollout is not None
        assert rollout == self.rollout.id
        self.tripped.append((service, reason, figures))

    def tell(self, *, candidates: int = 0, stable: int = 0, caller: str = "", **fields: Any
             ) -> None:
        """Candidates that fail, and conversations of stable that go well."""
        for number in range(candidates + stable):
            self._number += 1
            ours = number < candidates
            for attempt in turns(f"c{self._number}", [{**failures(int(ours))[0], **fields}],
                                 candidate=ours, at=BEGAN + self._number,
                                 caller=caller or f"k{self._number % 40}"):
                self.breaker.add(attempt)


@pytest.fixture
def case() -> Iterator[Case]:
    """A breaker that is stopped after the test."""
    one = Case()
    yield one
    one.breaker.stop()


def test_good_answers_that_come_later_than_failures_cut_nothing_off(case: Case) -> None:
    """Of either arm some fail at once; the candidate's good answers take three times as long."""
    draw = random.Random(2)
    told = []
    for number in range(6000):
        asked, candidate = BEGAN + number / 100.0, draw.random() < 0.25
        bad = draw.random() < 0.02
        took = 0.1 if bad else 45.0 if candidate else 15.0
        said: list[dict[str, Any]] = [{"outcome": Outcome.WAITING, "seconds": 1.0}]
        said = [*said[:not bad], {**failures(int(bad))[0], "seconds": took}]
        told += [replace(attempt, at=asked + attempt.seconds, first_turn=True)
                 for attempt in turns(f"c{number}", said, candidate=candidate, chance=0.25,
                                      caller=f"k{number % 40}")]
    for attempt in sorted(told, key=lambda attempt: attempt.at):
        case.breaker.add(attempt)
    case.breaker.look()
    assert not case.tripped


def test_a_candidate_that_fails_outright_is_cut_off(case: Case) -> None:
    """Once, with what was seen in words and figures."""
    case.tell(stable=50)
    case.tell(candidates=20)
    case.breaker.look()
    ((service, reason, figures),) = case.tripped
    assert service == "chat"
    assert "this worker saw the candidate fail " in reason
    assert figures["evidence"] >= figures["bar"] == BAR
    assert figures["candidate"]["failed"] <= 6, "it does not wait for all of them"


def test_it_is_woken_by_a_failure(case: Case, until: Callable[..., Any]) -> None:
    """No poll stands before it."""
    case.breaker.start()
    case.tell(stable=50, candidates=20)
    until(lambda: case.tripped)


def test_a_healthy_candidate_stays(case: Case) -> None:
    """A failure now and then, on either arm."""
    for _ in range(20):
        case.tell(candidates=1, stable=10)
        case.tell(stable=10, outcome=failures(1)[0]["outcome"])
    case.breaker.look()
    assert not case.tripped


def test_one_caller_alone_cuts_nothing_off(case: Case) -> None:
    """While others call too: it may be what he asks."""
    case.tell(stable=50)
    case.tell(candidates=50, caller="loud")
    case.breaker.look()
    assert not case.tripped
    case.tell(candidates=20)
    case.breaker.look()
    assert case.tripped


def test_a_service_with_one_key_is_protected(case: Case) -> None:
    """The application's key is all there is; that takes a hundred conversations to know."""
    case.tell(stable=20, caller="app")
    case.tell(candidates=20, caller="app")
    case.breaker.look()
    assert not case.tripped
    case.tell(stable=60, caller="app")
    case.tell(candidates=5, caller="app")
    case.breaker.look()
    assert case.tripped


@pytest.mark.parametrize(("fields", "most"), [
    ({}, 6), ({"guardrails": [{"name": "e", "metric": "error_rate", "rule": "evidence"}],
               "alpha": 1e-7}, 12),
])
def test_its_bar_is_ten_times_the_controllers(
    case: Case, fields: dict[str, Any], most: int
) -> None:
    """As each worker has one; but never below 10 000."""
    case.rollout = rollout(**fields)
    case.tell(stable=50)
    case.tell(candidates=30)
    case.breaker.look()
    ((_, _, figures),) = case.tripped
    assert figures["candidate"]["failed"] <= most
    assert figures["bar"] == (2e8 if fields else BAR)


def test_what_the_policy_tolerates_is_tolerated(case: Case) -> None:
    """With a margin of twice as many more, twice as many are fine."""
    case.rollout = rollout(guardrails=[
        {"name": "e", "metric": "error_rate", "rule": "evidence", "margin": 5.0}])
    for _ in range(150):
        case.tell(candidates=1, stable=9, outcome=failures(1)[0]["outcome"])
        case.tell(candidates=3)
    case.breaker.look()
    assert not case.tripped


@pytest.mark.parametrize("running", [None, rollout(circuit_breaker=False)])
def test_without_a_rollout_or_by_the_policy_it_does_nothing(
    case: Case, running: Rollout | None
) -> None:
    """`circuit_breaker: false` leaves it to the guardrails."""
    case.rollout = running
    case.tell(stable=50, candidates=50)
    case.breaker.look()
    assert not case.tripped


def test_each_rollout_begins_anew(case: Case) -> None:
    """What an earlier candidate did is not this one's; nor is what ended before it began."""
    case.tell(stable=50)
    case.tell(candidates=2)
    case.breaker.look()
    case.rollout = rollout(2)
    case.tell(candidates=2)
    case.breaker.look()
    assert not case.tripped
    case.rollout = rollout(3).model_copy(update={"began": BEGAN + 10_000})
    case.tell(candidates=50)
    case.breaker.look()
    assert not case.tripped


def test_a_rollback_that_is_refused_is_tried_again(case: Case) -> None:
    """Somebody else may have been first; if not, the next failure asks again."""
    case.refused = CoalmineError("no")
    case.tell(stable=50)
    case.tell(candidates=20)
    case.breaker.look()
    case.refused = None
    case.tell(candidates=1)
    case.breaker.look()
    assert len(case.tripped) == 1

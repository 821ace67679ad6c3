"""The controller's figures of one service."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.figures import HOUR_KEPT, Figures, Recognised
from coalmine.guardrails import Attempt, Decide, Outcome
from coalmine.guardrails.attempt import NO_CONVERSATION
from coalmine.rollout import Promote, Service, Start, apply
from coalmine.rollout.trial import HANDED_OVER
from coalmine.routing import Arm, Phase

Make = Callable[..., Any]


@pytest.fixture
def figures(put: Make) -> Callable[..., tuple[Figures, Service]]:
    """Figures that follow a service in a phase."""

    def make(phase: Phase = Phase.CANARY) -> tuple[Figures, Service]:
        service = put(phase=phase)
        made = Figures("chat")
        made.follow(service)
        return made, service

    return make


def feed(figures: Figures, *attempts: Attempt) -> None:
    for attempt in attempts:
        figures.add(attempt)


def test_stable_is_compared_by_evidence_only(figures: Make, attempt: Make, clock: Any) -> None:
    """A conversation from before the rollout stays on stable and says nothing about it."""
    made, _ = figures()
    feed(made, *(attempt(Outcome.ERROR, Arm.STABLE, evidence=False, conversation=f"o{n}")
                 for n in range(50)),
         *(attempt(Outcome.OK, Arm.STABLE, conversation=f"s{n}") for n in range(50)))
    window = made.trial._windows[Arm.STABLE][60.0]
    assert (window.judged, window.failures) == (50, 0)
    assert made.arm(Arm.STABLE)["attempts"] == 100


def test_attempts_from_before_the_rollout_are_ignored(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """The same release may have been rolled back a minute ago."""
    made, service = figures()
    feed(made, *(attempt(Outcome.ERROR, at=clock.now - 1, conversation=f"c{n}")
                 for n in range(50)))
    verdict = made.verdict(service, clock.now)
    assert verdict is not None
    assert verdict.decision is Decide.HOLD
    assert made.step_conversations == 0
    assert made.trial.last_candidate is None


def test_another_release_is_not_the_candidate(figures: Make, attempt: Make, clock: Any) -> None:
    """What ends late of the rollout before counts for none of the arms."""
    made, service = figures()
    feed(made, *(attempt(Outcome.ERROR, release="v0", conversation=f"c{n}") for n in range(50)))
    assert made.arm(Arm.CANDIDATE)["attempts"] == 0
    verdict = made.verdict(service, clock.now)
    assert verdict is not None
    assert verdict.decision is Decide.HOLD


def test_a_candidate_that_is_down_does_not_fill_its_step(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """Conversations for which it had no deployment were served by stable."""
    made, _ = figures()
    feed(made, *(attempt(Outcome.DOWN, conversation=f"c{n}") for n in range(50)))
    assert (made.step_conversations, made.trial.last_candidate) == (0, None)


def test_what_the_client_caused_does_not_fill_the_step(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """It is an attempt, so nobody gives up; but it was not judged."""
    made, _ = figures()
    feed(made, attempt(Outcome.CLIENT_ERROR), attempt(Outcome.DISCONNECT, conversation="d"))
    assert (made.step_conversations, made.trial.last_candidate) == (0, clock.now)


def test_each_step_counts_its_own_conversations(figures: Make, attempt: Make, clock: Any) -> None:
    """One that goes on in the next step counts there too."""
    made, service = figures()
    feed(made, attempt(conversation="a"), attempt(conversation="b"), attempt(conversation="a"))
    assert made.step_conversations == 2
    clock.now += 700
    made.follow(apply(service, Promote(at=clock.now, who="ann")))
    assert made.step_conversations == 0
    feed(made, attempt(conversation="a"))
    assert made.step_conversations == 1


def test_the_steps_conversations_survive_a_take_over(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """New ones are added to them, and those that go on are not counted again."""
    made, service = figures()
    feed(made, *(attempt(conversation=f"c{n}") for n in range(4)))
    published = made.document(service, None, clock.now)
    heir = Figures("chat")
    heir.follow(service, published)
    assert heir.step_conversations == 4
    feed(heir, attempt(conversation="c3"), attempt(conversation="c4"))
    assert heir.step_conversations == 5


def test_of_many_conversations_only_the_number_is_handed_over(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """What is published every second stays small."""
    made, service = figures()
    feed(made, *(attempt(conversation=f"c{n}") for n in range(HANDED_OVER + 1)))
    published = made.document(service, None, clock.now)
    assert published["step_seen"] is None
    heir = Figures("chat")
    heir.follow(service, published)
    assert heir.step_conversations == HANDED_OVER + 1


def test_what_was_published_of_another_step_is_not_taken_over(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """The last controller may have died between a step and the next publication."""
    made, service = figures()
    feed(made, attempt())
    published = made.document(service, None, clock.now)
    clock.now += 700
    heir = Figures("chat")
    heir.follow(apply(service, Promote(at=clock.now, who="ann")), published)
    assert heir.step_conversations == 0


def test_the_last_attempt_survives_a_take_over(figures: Make, attempt: Make, clock: Any) -> None:
    """It may be older than what batches are kept, and would else look like an hour's silence."""
    made, service = figures()
    feed(made, attempt())
    heir = Figures("chat")
    heir.follow(service, made.document(service, None, clock.now))
    assert heir.trial.last_candidate == clock.now


def test_time_in_which_nobody_judged_is_no_soak(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """All controllers were away for an hour, the step's ten minutes within it."""
    made, service = figures()
    feed(made, *(attempt(conversation=f"c{n}") for n in range(9)))
    for _ in range(12):
        clock.now += 5
        made.verdict(service, clock.now)
    assert made.unwatched == 0
    published = made.document(service, None, clock.now)
    heir = Figures("chat")
    heir.follow(service, published)
    clock.now += 3600
    verdict = heir.verdict(service, clock.now)
    assert heir.unwatched == 3600
    assert verdict is not None
    assert verdict.reason == "step 1 soaks for 9m more"
    later = Figures("chat")
    later.follow(service, heir.document(service, None, clock.now))
    assert later.unwatched == 3600
    later.follow(apply(service, Promote(at=clock.now, who="ann")))
    assert later.unwatched == 0


def test_the_baseline_is_stables_last_quarter_of_an_hour(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """All of stable's attempts, also those that are no evidence."""
    made, service = figures(Phase.IDLE)
    feed(made, attempt(Outcome.ERROR, Arm.STABLE, at=clock.now - 901, evidence=False),
         *(attempt(Outcome.OK, Arm.STABLE, evidence=False) for _ in range(9)),
         attempt(Outcome.ERROR, Arm.STABLE, evidence=False))
    baseline = made.document(service, None, clock.now)["baseline"]
    assert (baseline["attempts"], baseline["error_rate"]) == (10.0, 0.1)
    assert baseline["request_p95"] == pytest.approx(1.0, rel=0.01)
    assert "ttft_p95" not in baseline


def test_a_new_stable_release_begins_with_an_empty_baseline(
    figures: Make, attempt: Make, clock: Any
) -> None:
    """What the old one did says nothing about it."""
    made, service = figures(Phase.BAKING)
    feed(made, *(attempt(Outcome.ERROR, Arm.STABLE) for _ in range(9)))
    promoted = apply(service, Promote(at=clock.now, who="ann"))
    made.follow(promoted)
    assert made.baseline() == {"attempts": 0.0}
    feed(made, attempt(arm=Arm.STABLE, release="v2"), attempt(arm=Arm.STABLE, release="v1"))
    assert made.baseline()["attempts"] == 1.0


def test_a_pause_says_that_the_weight_stays(figures: Make, clock: Any) -> None:
    """Some take a pause for a way to take the candidate away."""
    made, service = figures(Phase.PAUSED)
    found = made.verdict(service, clock.now)
    assert (found.decision, service.weight) == (Decide.HOLD, 10)
    assert found.reason == f"the weight stays at 10 %: {service.reason}"


def test_nothing_is_judged_outside_a_rollout(figures: Make, clock: Any) -> None:
    """In idle and on the way back there is no verdict."""
    made, service = figures(Phase.ROLLING_BACK)
    assert made.verdict(service, clock.now) is None


def test_old_attempts_leave_the_verdict(figures: Make, attempt: Make, clock: Any) -> None:
    """The guardrail's window is a minute."""
    made, service = figures()
    feed(made, *(attempt(Outcome.ERROR, conversation=f"c{n}") for n in range(9)))
    broken = made.verdict(service, clock.now)
    assert broken is not None
    assert broken.decision is Decide.ROLLBACK
    clock.now += 61
    later = made.verdict(service, clock.now)
    assert later is not None
    assert later.decision is Decide.HOLD


def test_a_new_rollout_begins_with_empty_windows(
    figures: Make, attempt: Make, clock: Any, policy: Any
) -> None:
    """Nothing of the last one is left."""
    made, service = figures(Phase.ROLLED_BACK)
    feed(made, *(attempt(Outcome.ERROR, conversation=f"c{n}") for n in range(9)))
    clock.now += 1
    again = apply(service, Start(at=clock.now, who="ann", release="v2",
                                 policy=policy.services["chat"]))
    made.follow(again)
    verdict = made.verdict(again, clock.now)
    assert verdict is not None
    assert verdict.decision is Decide.HOLD
    assert made.arm(Arm.CANDIDATE)["failures"] == 0


def test_the_unrecognised_are_a_share_of_the_hours_conversations() -> None:
    """Turns of one conversation are one; embeddings are none."""
    seen = Recognised()
    for at, conversation in [(0, "a"), (61, "a"), (62, "b"), (63, ""), (64, NO_CONVERSATION)]:
        seen.add(at, conversation)
    assert seen.missing() == pytest.approx(1 / 3)
    seen.forget(3600 + 59)
    assert seen.missing() == pytest.approx(1 / 3)
    seen.forget(3600 + 120)
    assert seen.missing() is None


def test_the_hour_is_bounded() -> None:
    """With many conversations it becomes shorter, and stays right."""
    seen = Recognised()
    for number in range(HOUR_KEPT + 1000):
        seen.add(number / 100, f"c{number}")
        if number % 2:
            seen.add(number / 100, "")
    assert len(seen._known) <= HOUR_KEPT
    assert seen.missing() == pytest.approx(1 / 3, rel=0.05)

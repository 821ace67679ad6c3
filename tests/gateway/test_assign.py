"""Giving turns their arms: two workers over one real state."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.gateway.assign import KNOWN_FOR, PATIENCE, Up
from coalmine.rollout import Drained, Halt, Promote, RollBack, Start
from coalmine.routing import Arm, Phase

Make = Callable[..., Any]
DOWN = Up(candidate=False)
LONG = "That is an answer of more than a few words."


async def on_candidate(worker: Any, ids: Any = None, **fields: Any) -> tuple[str, Any]:
    """Return the id and the turn of a conversation that was drawn to the candidate."""
    for number in ids or range(200):
        turn = await worker.say("Hi", session=f"s{number}", **fields)
        if turn.decision.arm is Arm.CANDIDATE:
            return f"s{number}", turn
    raise AssertionError("nobody was drawn")


# explicit ids -------------------------------------------------------------------------------------
def test_a_race_for_a_conversation_has_one_winner(worker: Make, change: Make, run: Make) -> None:
    """Both workers serve the same arm, whoever claimed it first; one of them counts it."""
    change(Start)
    workers = [worker(), worker()]

    async def race() -> None:
        for number in range(50):
            turns = await asyncio.gather(
                *(each.say("Hi", session=f"s{number}") for each in workers))
            assert len({turn.decision.release for turn in turns}) == 1
            assert len({turn.decision.chance for turn in turns}) == 1

    run(race())
    began = [count for each in workers for (name, *_), count in each.counted.items()
             if name == "coalmine_conversations_total"]
    assert sum(began) == 50


def test_who_loses_the_claim_decides_with_the_winners_pin(
    worker: Make, change: Make, run: Make
) -> None:
    """The winner drew at another weight: its chance is the one that counts."""
    change(Start)
    first, second = worker(), worker()

    async def story() -> None:
        ident, turn = await on_candidate(first)
        change(Promote)  # baking: 98 %
        second.follower.refresh()
        other = await second.say("Hi", session=ident)
        assert (other.decision.arm, other.decision.chance) == (Arm.CANDIDATE, 0.5)
        assert turn.decision.evidence

    run(story())


def test_a_known_conversation_costs_no_look_at_the_state(
    worker: Make, change: Make, run: Make
) -> None:
    """Its pin is remembered."""
    change(Start)
    here = worker()

    async def story() -> None:
        await here.say("Hi", session="a")
        before = here.away.calls
        for _ in range(10):
            await here.say("Hi", "Hello", "Go on", session="a")
        assert here.away.calls == before

    run(story())


def test_the_share_is_the_weight(worker: Make, change: Make, run: Make) -> None:
    """Of new conversations, within chance."""
    change(Start)
    here = worker()

    async def story() -> int:
        return sum([(await here.say("Hi", session=f"s{n}")).decision.arm is Arm.CANDIDATE
                    for n in range(1000)])

    assert 420 < run(story()) < 580


def test_ids_of_two_callers_are_two_conversations(worker: Make, change: Make, run: Make) -> None:
    """An id cannot be used to reach another's pin."""
    change(Start)
    here = worker()

    async def story() -> None:
        one = await here.say("Hi", session="a", caller="k1")
        two = await here.say("Hi", session="a", caller="k2")
        assert one.key != two.key

    run(story())


def test_an_id_seen_before_the_rollout_stays_on_stable(
    worker: Make, change: Make, run: Make
) -> None:
    """It was marked as seen while the service was idle, by either worker; it is no evidence."""
    change()
    first, second = worker(), worker()

    async def story() -> None:
        for number in range(30):
            await first.say("Hi", session=f"s{number}")
        change(Start)
        for each in (first, second):
            each.follower.refresh()
            for number in range(30):
                turn = await each.say("Hi", session=f"s{number}")
                assert (turn.decision.arm, turn.decision.evidence) == (Arm.STABLE, False)

    run(story())


def test_ids_first_seen_in_the_grace_are_taken_for_old(
    worker: Make, change: Make, run: Make, clock: Any, policy: Any
) -> None:
    """A chat that was quiet while the seen ids were kept must not jump to the candidate."""
    rules = policy.services["chat"]
    graced = rules.model_copy(update={"sessions": rules.sessions.model_copy(
        update={"grace": 60.0})})
    change(Start(at=clock.now, who="ann", release="v2", policy=graced))
    here = worker()

    async def story() -> None:
        clock.now += 59.9
        for number in range(30):
            turn = await here.say("Hi", session=f"early{number}")
            assert (turn.decision.arm, turn.decision.evidence) == (Arm.STABLE, False)
        clock.now += 0.1
        await on_candidate(here)
        turn = await here.say("Hi", session="early1")
        assert turn.decision.arm is Arm.STABLE

    run(story())


# moves --------------------------------------------------------------------------------------------
def test_a_rollback_moves_each_conversation_once_and_tells_once(
    worker: Make, change: Make, run: Make
) -> None:
    """Whichever worker meets it first; the other finds it moved."""
    change(Start)
    first, second = worker(), worker()

    async def story() -> None:
        ident, _ = await on_candidate(first)
        await second.say("Hi", session=ident)  # both have it in memory
        change(RollBack)
        first.follower.refresh()
        second.follower.refresh()
        told = [(await each.say("Hi", session=ident)) for each in (first, second, first, second)]
        assert {turn.decision.release for turn in told} == {"v1"}
        assert [turn.moved_from for turn in told] == ["v2", None, None, None]

    run(story())
    moves = first.counted + second.counted
    assert moves["coalmine_moves_total", "chat", "rollback"] == 1


def test_two_workers_that_meet_it_at_once_tell_once(worker: Make, change: Make, run: Make) -> None:
    """The state lets one of them move it."""
    change(Start)
    workers = [worker(), worker()]

    async def story() -> None:
        idents = [(await on_candidate(workers[0], range(n * 200, n * 200 + 200)))[0]
                  for n in range(10)]
        for ident in idents:
            await workers[1].say("Hi", session=ident)
        change(RollBack)
        for each in workers:
            each.follower.refresh()
        for ident in idents:
            turns = await asyncio.gather(*(each.say("Hi", session=ident) for each in workers))
            assert sorted(str(turn.moved_from) for turn in turns) == ["None", "v2"]

    run(story())


def test_at_the_end_of_the_bake_pins_of_the_old_release_move(
    worker: Make, change: Make, run: Make
) -> None:
    """At their next turn, told."""
    change(Start)
    here = worker()

    async def story() -> None:
        turns = [(n, await here.say("Hi", session=f"s{n}")) for n in range(20)]
        number = next(n for n, turn in turns if turn.decision.arm is Arm.STABLE)
        change(Promote, Promote)
        here.follower.refresh()
        assert here.plan.stable == "v2"
        turn = await here.say("Hi", session=f"s{number}")
        assert (turn.decision.release, turn.moved_from) == ("v2", "v1")
        again = await here.say("Hi", session=f"s{number}")
        assert (again.decision.release, again.moved_from) == ("v2", None)

    run(story())


def test_a_rescue_moves_the_conversation_for_good_on_all_workers(
    worker: Make, change: Make, run: Make
) -> None:
    """It is told, counted, and no evidence any more; the other worker forgets its pin."""
    change(Start)
    here, there = worker(), worker()

    async def story() -> None:
        ident, turn = await on_candidate(here)
        await there.say("Hi", session=ident)
        turn.failed.add(Arm.CANDIDATE)
        turn.ended = 1
        decision = here.assigner.again(turn, here.plan, DOWN)
        assert (decision.arm, turn.moved_from, decision.evidence) == (Arm.STABLE, "v2", False)
        await here.settled()
        there.follower.refresh()
        for each in (here, there):
            after = await each.say("Hi", session=ident)
            assert (after.decision.arm, after.decision.evidence) == (Arm.STABLE, False)
            assert after.moved_from is None

    run(story())
    assert here.counted["coalmine_moves_total", "chat", "rescue"] == 1


def test_two_requests_of_one_conversation_that_are_rescued_tell_once(
    worker: Make, change: Make, run: Make
) -> None:
    """Chat front ends send side requests at the same time."""
    change(Start)
    here = worker()

    async def story() -> None:
        ident, one = await on_candidate(here)
        two = await here.say("Hi", session=ident)
        for turn in (one, two):
            turn.failed.add(Arm.CANDIDATE)
            turn.ended = 1
            here.assigner.again(turn, here.plan, DOWN)
        assert [one.moved_from, two.moved_from] == ["v2", None]
        assert {one.decision.arm, two.decision.arm} == {Arm.STABLE}
        await here.settled()

    run(story())
    assert here.counted["coalmine_moves_total", "chat", "rescue"] == 1


def test_an_answer_that_took_long_does_not_bring_back_a_moved_pin(
    worker: Make, change: Make, run: Make
) -> None:
    """Another worker moved the conversation while this one was still streaming."""
    change(Start)
    here, there = worker(), worker()

    async def story() -> None:
        first = None
        while first is None or first.decision.arm is not Arm.CANDIDATE:
            first = await here.say("Hi")
            await here.answer(first, f"{LONG} {first.key.hex()}")
        said = f"{LONG} {first.key.hex()}"
        slow = await here.say("Hi", said, "Go on")
        fast = await there.say("Hi", said, "Go on")
        fast.failed.add(Arm.CANDIDATE)
        fast.ended = 1
        there.assigner.again(fast, there.plan, DOWN)
        await there.settled()
        here.follower.refresh()
        await here.answer(slow, "a slow answer that is long enough")
        after = await here.say("Hi", said, "Go on", "a slow answer that is long enough", "More")
        assert after.decision.arm is Arm.STABLE

    run(story())


def test_a_pin_that_is_looked_up_while_another_moves_it_is_not_remembered(
    worker: Make, change: Make, run: Make
) -> None:
    """It may be the very pin that was to be forgotten."""
    change(Start)
    first, second = worker(), worker()

    async def story() -> None:
        ident, _ = await on_candidate(first)
        real = second.away.real.claim

        def claim(*arguments: Any, **named: Any) -> Any:
            found = real(*arguments, **named)
            second.assigner.pins.forget(arguments[0])
            return found

        second.away.claim = claim
        turn = await second.say("Hi", session=ident)
        assert turn.decision.arm is Arm.CANDIDATE
        assert second.assigner.pins.get(turn.key) is None

    run(story())


def test_a_rollback_between_the_draw_and_the_first_attempt_is_no_move(
    worker: Make, change: Make, run: Make
) -> None:
    """The conversation has not begun anywhere yet."""
    change(Start)
    here = worker()

    async def story() -> None:
        turn = await here.say("Hi")
        while turn.decision.arm is not Arm.CANDIDATE:
            turn = await here.say("Hi")
        change(RollBack)
        here.follower.refresh()
        decision = here.assigner.again(turn, here.plan, Up())
        assert (decision.arm, turn.moved_from) == (Arm.STABLE, None)

    run(story())
    assert here.counted["coalmine_moves_total", "chat", "rollback"] == 0


def test_a_down_candidate_is_drawn_for_nobody(worker: Make, change: Make, run: Make) -> None:
    """And the arm's failure is told, to be counted."""
    change(Start)
    here = worker()

    async def story() -> None:
        for number in range(20):
            turn = await here.say("Hi", session=f"s{number}", up=DOWN)
            assert (turn.decision.arm, turn.decision.failed) == (Arm.STABLE, Arm.CANDIDATE)
            assert turn.decision.evidence is False

    run(story())


# histories ----------------------------------------------------------------------------------------
def test_a_thousand_his_are_a_thousand_conversations(
    worker: Make, change: Make, run: Make
) -> None:
    """Each is drawn afresh, also those of one caller."""
    change(Start)
    here = worker()

    async def story() -> None:
        arms: Counter[Arm] = Counter()
        keys = set()
        for number in range(1000):
            turn = await here.say("Hi", caller=f"k{number % 3}")
            arms[turn.decision.arm] += 1
            keys.add(turn.key)
        assert len(keys) == 1000
        assert 420 < arms[Arm.CANDIDATE] < 580

    run(story())


def test_a_history_is_found_on_the_other_worker(worker: Make, change: Make, run: Make) -> None:
    """By its beginning, and when the client trims it by its newest answer."""
    change(Start)
    here, there = worker(), worker()

    async def story() -> None:
        for number in range(20):
            first, second = f"Hello, what about {number}? I can help.", f"{LONG} ({number})"
            turn = await here.say(f"Hi {number}")
            await here.answer(turn, first)
            next_turn = await there.say(f"Hi {number}", first, "Go on")
            assert next_turn.key == turn.key
            assert next_turn.decision.arm is turn.decision.arm
            await there.answer(next_turn, second)
            trimmed = await here.say("Go on", second, "And then?")
            assert (trimmed.key, trimmed.basis) == (turn.key, "history")
            assert trimmed.decision.arm is turn.decision.arm

    run(story())


def test_a_short_answer_alone_tells_no_conversation(worker: Make, change: Make, run: Make) -> None:
    """ "Yes." is in many: by it an old conversation could be taken for one on the candidate."""
    change(Start)
    here = worker()

    async def story() -> None:
        for number in range(10):
            turn = await here.say(f"Is it {number}?")
            await here.answer(turn, "Yes.")
        old = await here.say("A trimmed beginning", "Yes.", "Go on")
        assert (old.decision.arm, old.basis) == (Arm.STABLE, None)

    run(story())
    assert here.counted["coalmine_unrecognised_total", "chat", "unknown_history"] == 1


def test_a_history_that_began_before_the_rollout_stays_on_stable(
    worker: Make, change: Make, run: Make
) -> None:
    """It is counted as unrecognised once, is no evidence, and is known from then on."""
    change(Start)
    here = worker()

    async def story() -> None:
        turn = await here.say("Hi", "An answer from before the rollout", "Go on")
        assert (turn.decision.arm, turn.decision.evidence) == (Arm.STABLE, False)
        await here.answer(turn, LONG)
        again = await here.say("Hi", "An answer from before the rollout", "Go on", LONG, "More")
        assert (again.decision.arm, again.basis) == (Arm.STABLE, "history")

    run(story())
    assert here.counted["coalmine_unrecognised_total", "chat", "unknown_history"] == 1


def test_two_conversations_that_begin_alike_are_one_on_every_worker(
    worker: Make, change: Make, run: Make
) -> None:
    """One caller, the same words, the same answer: nothing tells them apart. All agree."""
    change(Start)
    here, there = worker(), worker()

    async def story() -> None:
        for each in (here, there, here, there):
            turn = await each.say("Hi")
            await each.answer(turn, LONG)
        found = {(await each.say("Hi", LONG, "Go on")).key for each in (here, there)}
        assert len(found) == 1

    run(story())


def test_an_answer_of_tool_calls_is_recognised(worker: Make, change: Make, run: Make) -> None:
    """By their ids, which clients echo."""
    change(Start)
    here, there = worker(), worker()

    async def story() -> None:
        turn = await here.say("Weather?")
        turn.calls = ("call_1",)
        await here.answer(turn)
        found = await there.assign({"messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]},
            {"role": "tool", "content": "sunny"}]})
        assert found.key == turn.key

    run(story())


def test_a_chain_of_responses_is_one_conversation(worker: Make, change: Make, run: Make) -> None:
    """Through previous_response_id, over both workers."""
    change(Start)
    workers = [worker(), worker()]

    async def story() -> None:
        turn = await workers[0].assign({"input": "Hi"}, kind="responses")
        await workers[0].answer(turn, LONG, "resp_0")
        for number in range(1, 6):
            each = workers[number % 2]
            following = await each.assign(
                {"input": "Go on", "previous_response_id": f"resp_{number - 1}"},
                kind="responses")
            assert (following.key, following.basis) == (turn.key, "response")
            assert following.decision.arm is turn.decision.arm
            await each.answer(following, LONG, f"resp_{number}")
        stranger = await workers[0].assign(
            {"input": "Go on", "previous_response_id": "resp_0"}, kind="responses", caller="other")
        assert stranger.basis is None

    run(story())


def test_what_is_no_conversation_gets_stable_and_writes_nothing(
    worker: Make, change: Make, run: Make
) -> None:
    """One index must not mix two models."""
    change(Start)
    here = worker()

    async def story() -> None:
        before = here.away.calls
        for kind in ("embedding", "other"):
            turn = await here.assign({"input": "x"}, kind=kind)
            assert (turn.decision.arm, turn.basis) == (Arm.STABLE, None)
            assert here.assigner.again(turn, here.plan, Up()).arm is Arm.STABLE
            await here.answer(turn, LONG)
        assert here.away.calls == before

    run(story())


# the state out of reach ---------------------------------------------------------------------------
@pytest.mark.parametrize("events", [(Start,), (Start, Halt)])
def test_a_silent_state_means_stable_for_new_conversations(
    worker: Make, change: Make, run: Make, mono: Any, events: tuple[Any, ...]
) -> None:
    """After stale_after, in canary and paused; they are no evidence and not asked for."""
    change(*events)
    here = worker()

    async def story() -> None:
        here.away.away = True
        mono.now += 3.1
        before = here.away.calls
        for number in range(20):
            by_id = await here.say("Hi", session=f"s{number}")
            fresh = await here.say("Hi")
            for turn in (by_id, fresh):
                assert (turn.decision.arm, turn.decision.evidence) == (Arm.STABLE, False)
        assert here.away.calls == before

    run(story())
    assert here.counted["coalmine_unrecognised_total", "chat", "state_unreachable"] == 20


def test_known_conversations_keep_their_arm_for_a_minute(
    worker: Make, change: Make, run: Make, mono: Any
) -> None:
    """From memory; then stable."""
    change(Start)
    here = worker()

    async def story() -> None:
        ident, _ = await on_candidate(here)
        here.away.away = True
        mono.now += KNOWN_FOR
        assert (await here.say("Hi", session=ident)).decision.arm is Arm.CANDIDATE
        mono.now += 0.1
        late = await here.say("Hi", session=ident)
        assert (late.decision.arm, late.decision.evidence, late.moved_from) == (
            Arm.STABLE, False, None)

    run(story())


def test_in_the_bake_the_last_routing_stays(
    worker: Make, change: Make, run: Make, mono: Any
) -> None:
    """New conversations are drawn as before, for as long as it takes; they are no evidence."""
    change(Start, Promote)
    here = worker()
    assert here.plan.phase is Phase.BAKING

    async def story() -> None:
        ident, _ = await on_candidate(here)
        here.away.away = True
        mono.now += 3600
        assert (await here.say("Hi", session=ident)).decision.arm is Arm.CANDIDATE
        turns = [await here.say("Hi", session=f"new{n}") for n in range(50)]
        turns += [await here.say("Hi") for _ in range(50)]
        assert sum(t.decision.arm is Arm.CANDIDATE for t in turns) > 85
        assert not any(t.decision.evidence for t in turns[:50])
        failed = next(t for t in turns if t.decision.arm is Arm.CANDIDATE)
        failed.failed.add(Arm.CANDIDATE)
        failed.ended = 1
        assert here.assigner.again(failed, here.plan, DOWN).arm is Arm.STABLE

    run(story())


def test_in_idle_a_dead_state_changes_nothing(
    worker: Make, change: Make, run: Make, mono: Any
) -> None:
    """Stable, as before."""
    change()
    here = worker()

    async def story() -> None:
        here.away.away = True
        mono.now += 3600
        turn = await here.say("Hi", session="a")
        assert (turn.decision.arm, turn.decision.release) == (Arm.STABLE, "v1")

    run(story())


def test_a_state_that_does_not_answer_is_not_asked_for_each_request(
    worker: Make, change: Make, run: Make, mono: Any
) -> None:
    """Each question may take its deadline, and there are few threads."""
    change()
    here = worker()

    async def story() -> None:
        here.away.away = True
        before = here.away.calls
        for number in range(50):
            await here.say("Hi", session=f"s{number}")
        assert here.away.calls - before == 1
        mono.now += PATIENCE
        here.away.away = False
        await here.say("Hi", session="s1")
        assert here.counted["coalmine_conversations_total", "chat", "v1", "stable", "id"] == 1

    run(story())


def test_a_rollback_with_the_state_away_serves_stable(
    worker: Make, change: Make, run: Make, state: Any
) -> None:
    """The pin cannot be rewritten yet; the conversation is told when it is."""
    change(Start)
    here = worker()

    async def story() -> None:
        ident, _ = await on_candidate(here)
        change(RollBack, Drained)
        here.follower.refresh()
        here.away.away = True
        turn = await here.say("Hi", session=ident)
        assert turn.decision.release == "v1"
        here.away.away = False
        here.mono.now += PATIENCE
        back = await here.say("Hi", session=ident)
        assert (back.decision.release, back.moved_from) == ("v1", "v2")

    run(story())

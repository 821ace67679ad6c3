"""Giving turns their arms: two workers over one real state."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.gateway.assign import KNOWN_FOR, TOUCHES
from coalmine.gateway.decisions import Up
from coalmine.gateway.patience import PATIENCE
from coalmine.rollout import Drained, Halt, Promote, RollBack, Start
from coalmine.routing import NO_CHANCE, Arm, Phase, Pin
from coalmine.routing.keys import explicit_key

pytestmark = pytest.mark.anyio

Make = Callable[..., Any]
DOWN = Up(candidate=False)
AS_OLD = (Arm.STABLE, False)
LONG = "That is an answer of more than a few words."


def served(turn: Any) -> tuple[Arm, bool]:
    """Return the arm of a turn, and whether it is evidence."""
    return turn.decision.arm, turn.decision.evidence


def explicit(worker: Any, ident: str) -> bytes:
    """Return the key of the conversation with this id."""
    return explicit_key(worker.follower.salt(), "chat", "k", ident)


# explicit ids -------------------------------------------------------------------------------------
async def test_a_race_for_a_conversation_has_one_winner(here: Any, there: Any) -> None:
    """Both workers serve the same arm, whoever claimed it first; one of them counts it."""
    for number in range(50):
        turns = await asyncio.gather(
            *(each.say("Hi", session=f"s{number}") for each in (here, there)))
        assert len({turn.decision.release for turn in turns}) == 1
        assert len({turn.decision.chance for turn in turns}) == 1
    began = [count for (name, *_), count in (here.counted + there.counted).items()
             if name == "coalmine_conversations_total"]
    assert sum(began) == 50


async def test_one_request_is_the_first_of_a_conversation_for_all_workers(
    here: Any, there: Any
) -> None:
    """Whoever claimed the id; a later turn, and another worker's first, are none."""
    turns = await asyncio.gather(*(each.say("Hi", session="a") for each in (here, there)))
    assert sorted(turn.first for turn in turns) == [False, True]
    turns = [await each.say("Hi", "Hello", "Go on", session="a") for each in (here, there)]
    assert not any(turn.first for turn in turns)


async def test_what_the_state_could_not_be_asked_about_is_no_first_turn(
    during: Make, mono: Any
) -> None:
    """Nobody knows, so nobody says so."""
    here = during(Start, Promote)
    here.away.away = True
    mono.now += 3600
    assert not (await here.say("Hi", session="a")).first


async def test_who_loses_the_claim_decides_with_the_winners_pin(
    change: Make, here: Any, there: Any
) -> None:
    """The winner drew at another weight: its chance is the one that counts."""
    ident, turn = await here.on_candidate()
    change(Promote)  # baking: 98 %
    there.follower.refresh()
    other = await there.say("Hi", session=ident)
    assert (other.decision.arm, other.decision.chance) == (Arm.CANDIDATE, 0.5)
    assert turn.decision.evidence


async def test_a_known_conversation_costs_no_look_at_the_state(here: Any) -> None:
    """Its pin is remembered."""
    await here.say("Hi", session="a")
    before = here.away.calls
    for _ in range(10):
        await here.say("Hi", "Hello", "Go on", session="a")
    assert here.away.calls == before


async def test_the_share_is_the_weight(here: Any) -> None:
    """Of new conversations, within chance."""
    arms = [(await here.say("Hi", session=f"s{n}")).decision.arm for n in range(1000)]
    assert 420 < arms.count(Arm.CANDIDATE) < 580


async def test_ids_of_two_callers_are_two_conversations(here: Any) -> None:
    """An id cannot be used to reach another's pin."""
    one = await here.say("Hi", session="a", caller="k1")
    two = await here.say("Hi", session="a", caller="k2")
    assert one.key != two.key


async def test_an_id_seen_before_the_rollout_stays_on_stable(worker: Make, change: Make) -> None:
    """It was marked as seen while the service was idle, by either worker; it is no evidence."""
    change()
    first, second = worker(), worker()
    for number in range(30):
        await first.say("Hi", session=f"s{number}")
    change(Start)
    for each in (first, second):
        each.follower.refresh()
        for number in range(30):
            turn = await each.say("Hi", session=f"s{number}")
            assert served(turn) == AS_OLD


async def test_ids_first_seen_in_the_grace_are_taken_for_old(
    during: Make, clock: Any, policy: Any
) -> None:
    """A chat that was quiet while the seen ids were kept must not jump to the candidate."""
    rules = policy.services["chat"]
    graced = rules.model_copy(update={"sessions": rules.sessions.model_copy(
        update={"grace": 60.0})})
    here = during(Start(at=clock.now, who="ann", release="v2", policy=graced))
    clock.now += 59.9
    for number in range(30):
        turn = await here.say("Hi", session=f"early{number}")
        assert served(turn) == AS_OLD
    clock.now += 0.1
    await here.on_candidate()
    turn = await here.say("Hi", session="early1")
    assert turn.decision.arm is Arm.STABLE


# moves --------------------------------------------------------------------------------------------
async def test_a_rollback_moves_each_conversation_once_and_tells_once(
    change: Make, here: Any, there: Any
) -> None:
    """Whichever worker meets it first; the other finds it moved."""
    ident, _ = await here.on_candidate()
    await there.say("Hi", session=ident)  # both have it in memory
    change(RollBack)
    here.follower.refresh()
    there.follower.refresh()
    told = [(await each.say("Hi", session=ident)) for each in (here, there, here, there)]
    assert {turn.decision.release for turn in told} == {"v1"}
    assert [turn.moved_from for turn in told] == ["v2", None, None, None]
    moves = here.counted + there.counted
    assert moves["coalmine_moves_total", "chat", "rollback"] == 1


async def test_two_workers_that_meet_it_at_once_tell_once(
    change: Make, here: Any, there: Any
) -> None:
    """The state lets one of them move it."""
    idents = [(await here.on_candidate(f"chat-{n}-"))[0] for n in range(10)]
    for ident in idents:
        await there.say("Hi", session=ident)
    change(RollBack)
    for each in (here, there):
        each.follower.refresh()
    for ident in idents:
        turns = await asyncio.gather(*(each.say("Hi", session=ident) for each in (here, there)))
        assert sorted(str(turn.moved_from) for turn in turns) == ["None", "v2"]


async def test_at_the_end_of_the_bake_pins_of_the_old_release_move(change: Make, here: Any) -> None:
    """At their next turn, told."""
    turns = [(n, await here.say("Hi", session=f"s{n}")) for n in range(20)]
    number = next(n for n, turn in turns if turn.decision.arm is Arm.STABLE)
    change(Promote, Promote)
    here.follower.refresh()
    assert here.plan.stable == "v2"
    turn = await here.say("Hi", session=f"s{number}")
    assert (turn.decision.release, turn.moved_from) == ("v2", "v1")
    again = await here.say("Hi", session=f"s{number}")
    assert (again.decision.release, again.moved_from) == ("v2", None)


async def test_a_rescue_moves_the_conversation_for_good_on_all_workers(
    here: Any, there: Any
) -> None:
    """It is told, counted, and no evidence any more; the other worker forgets its pin."""
    ident, turn = await here.on_candidate()
    await there.say("Hi", session=ident)
    here.rescue(turn)
    assert (*served(turn), turn.moved_from) == (*AS_OLD, "v2")
    await here.settled()
    there.follower.refresh()
    for each in (here, there):
        after = await each.say("Hi", session=ident)
        assert served(after) == AS_OLD
        assert after.moved_from is None
    assert here.counted["coalmine_moves_total", "chat", "rescue"] == 1


async def test_two_requests_of_one_conversation_that_are_rescued_tell_once(here: Any) -> None:
    """Chat front ends send side requests at the same time."""
    ident, one = await here.on_candidate()
    two = await here.say("Hi", session=ident)
    for turn in (one, two):
        here.rescue(turn)
    assert [one.moved_from, two.moved_from] == ["v2", None]
    assert {one.decision.arm, two.decision.arm} == {Arm.STABLE}
    await here.settled()
    assert here.counted["coalmine_moves_total", "chat", "rescue"] == 1


async def test_a_pin_that_is_looked_up_while_another_moves_it_is_not_remembered(
    here: Any, there: Any
) -> None:
    """It may be the very pin that was to be forgotten."""
    ident, _ = await here.on_candidate()
    real = there.away.real.claim

    def claim(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        there.assigner.pins.forget(arguments[0])
        return found

    there.away.claim = claim
    turn = await there.say("Hi", session=ident)
    assert turn.decision.arm is Arm.CANDIDATE
    assert there.assigner.pins.get(turn.key) is None


async def test_a_rollback_between_the_draw_and_the_first_attempt_is_no_move(
    change: Make, here: Any
) -> None:
    """The conversation has not begun anywhere yet."""
    turn = await here.say("Hi")
    while turn.decision.arm is not Arm.CANDIDATE:
        turn = await here.say("Hi")
    change(RollBack)
    here.follower.refresh()
    decision = here.assigner.again(turn, here.plan, Up())
    assert (decision.arm, turn.moved_from) == (Arm.STABLE, None)
    assert here.counted["coalmine_moves_total", "chat", "rollback"] == 0


async def test_a_down_candidate_is_drawn_for_nobody(here: Any) -> None:
    """And the arm's failure is told, to be counted."""
    for number in range(20):
        turn = await here.say("Hi", session=f"s{number}", up=DOWN)
        assert (*served(turn), turn.decision.failed) == (*AS_OLD, Arm.CANDIDATE)


async def test_what_is_no_conversation_gets_stable_and_writes_nothing(here: Any) -> None:
    """One index must not mix two models."""
    before = here.away.calls
    for kind in ("embedding", "other"):
        turn = await here.assign({"input": "x"}, kind=kind)
        assert (turn.decision.arm, turn.basis) == (Arm.STABLE, None)
        assert here.assigner.again(turn, here.plan, Up()).arm is Arm.STABLE
        await here.answer(turn, LONG)
    assert here.away.calls == before


# the state out of reach ---------------------------------------------------------------------------
@pytest.mark.parametrize("events", [(Start,), (Start, Halt)])
async def test_a_silent_state_means_stable_for_new_conversations(
    during: Make, mono: Any, events: tuple[Any, ...]
) -> None:
    """After stale_after, in canary and paused; they are no evidence and not asked for."""
    here = during(*events)
    here.away.away = True
    mono.now += 3.1
    before = here.away.calls
    for number in range(20):
        by_id = await here.say("Hi", session=f"s{number}")
        fresh = await here.say("Hi")
        for turn in (by_id, fresh):
            assert served(turn) == AS_OLD
    assert here.away.calls == before
    assert here.counted["coalmine_unrecognised_total", "chat", "state_unreachable"] == 20


async def test_known_conversations_keep_their_arm_for_a_minute(mono: Any, here: Any) -> None:
    """From memory; then stable."""
    ident, _ = await here.on_candidate()
    here.away.away = True
    mono.now += KNOWN_FOR
    assert (await here.say("Hi", session=ident)).decision.arm is Arm.CANDIDATE
    mono.now += 0.1
    late = await here.say("Hi", session=ident)
    assert (*served(late), late.moved_from) == (*AS_OLD, None)


async def test_in_the_bake_the_last_routing_stays(during: Make, mono: Any) -> None:
    """New conversations are drawn as before, for as long as it takes; they are no evidence."""
    here = during(Start, Promote)
    assert here.plan.phase is Phase.BAKING

    ident, _ = await here.on_candidate()
    here.away.away = True
    mono.now += 3600
    assert (await here.say("Hi", session=ident)).decision.arm is Arm.CANDIDATE
    turns = [await here.say("Hi", session=f"new{n}") for n in range(50)]
    turns += [await here.say("Hi") for _ in range(50)]
    assert sum(t.decision.arm is Arm.CANDIDATE for t in turns) > 85
    assert not any(t.decision.evidence for t in turns[:50])
    failed = next(t for t in turns if t.decision.arm is Arm.CANDIDATE)
    here.rescue(failed)
    assert failed.decision.arm is Arm.STABLE


async def test_in_idle_a_dead_state_changes_nothing(during: Make, mono: Any) -> None:
    """Stable, as before."""
    here = during()
    here.away.away = True
    mono.now += 3600
    turn = await here.say("Hi", session="a")
    assert (turn.decision.arm, turn.decision.release) == (Arm.STABLE, "v1")


async def test_a_state_that_does_not_answer_is_not_asked_for_each_request(
    during: Make, mono: Any
) -> None:
    """Each question may take its deadline, and there are few threads."""
    here = during()
    here.away.away = True
    before = here.away.calls
    for number in range(50):
        await here.say("Hi", session=f"s{number}")
    assert here.away.calls - before == 1
    mono.now += PATIENCE
    here.away.away = False
    await here.say("Hi", session="new")
    assert here.counted["coalmine_conversations_total", "chat", "v1", "stable", "id"] == 1


async def test_a_rollback_with_the_state_away_serves_stable(
    change: Make, here: Any, there: Any
) -> None:
    """The pin cannot be rewritten yet; the conversation is told all the same, and once."""
    ident, _ = await here.on_candidate()
    change(RollBack, Drained)
    here.follower.refresh()
    here.away.away = True
    turn = await here.say("Hi", session=ident)
    assert (turn.decision.release, turn.moved_from) == ("v1", "v2")
    here.away.away = False
    here.assigner.owed.pay(here.away, 60)
    here.mono.now += PATIENCE
    there.follower.refresh()
    for worker in (here, there):
        back = await worker.say("Hi", session=ident)
        assert (back.decision.release, back.moved_from) == ("v1", None)


@pytest.mark.parametrize("silence", [0, 3.1], ids=["unanswered", "stale"])
async def test_who_began_while_the_state_was_away_stays_on_stable(
    here: Any, there: Any, silence: float
) -> None:
    """Unwritten and unknown, it would look new to whoever serves its next turn, and be drawn."""
    here.away.away = True
    here.mono.now += silence
    names = [f"s{n}" for n in range(20)]
    for _ in range(2):
        for name in names:
            assert served(await here.say("Hi", session=name)) == AS_OLD
    here.assigner.pins.clear()  # as a worker does that missed what others moved
    here.away.away = False
    here.mono.now += PATIENCE
    here.follower.refresh()
    for name in names:
        assert served(await here.say("Hi", session=name)) == AS_OLD
    here.assigner.owed.pay(here.away, 60)
    assert not here.assigner.owed
    for worker in (there, here):
        for name in names:
            assert served(await worker.say("Hi", session=name)) == AS_OLD


async def test_what_another_worker_knew_better_stays_as_it_is(here: Any, there: Any) -> None:
    """A conversation on the candidate that a worker without the state takes for new goes back."""
    ident, _ = await there.on_candidate()
    here.away.away = True
    await here.say("Hi", session="another")  # from now on the state is not asked
    assert served(await here.say("Hi", session=ident)) == AS_OLD
    here.away.away = False
    here.assigner.owed.pay(here.away, 60)
    here.mono.now += PATIENCE
    for worker in (here, there):
        assert (await worker.say("Hi", session=ident)).decision.arm is Arm.CANDIDATE


async def test_a_pin_whose_answer_was_lost_does_not_move_the_conversation_untold(
    here: Any, there: Any
) -> None:
    """The state has it on the candidate, and stable has served it."""
    ident, _ = await there.on_candidate()  # as if `here` had written it itself
    here.away.away = True
    assert served(await here.say("Hi", session=ident)) == AS_OLD
    here.away.away = False
    here.assigner.owed.pay(here.away, 60)
    here.mono.now += PATIENCE
    turn = await here.say("Hi", session=ident)
    assert (*served(turn), turn.moved_from) == (*AS_OLD, "v2")
    there.follower.refresh()
    turn = await there.say("Hi", session=ident)
    assert (*served(turn), turn.moved_from) == (*AS_OLD, None)


async def test_a_move_between_the_states_return_and_the_writing_is_owed_too(here: Any) -> None:
    """What the state says of the conversation is not what it was given last."""
    ident, turn = await here.on_candidate()
    here.away.away = True
    turn.told_headers = True
    here.rescue(turn)  # the next answer will tell
    await here.settled()
    here.away.away = False
    here.mono.now += PATIENCE
    turn = await here.say("Hi", session=ident)
    assert (*served(turn), turn.moved_from) == (*AS_OLD, "v2")
    here.assigner.owed.pay(here.away, 60)
    turn = await here.say("Hi", session=ident)
    assert (*served(turn), turn.moved_from) == (*AS_OLD, None)


async def test_who_began_in_the_bake_without_the_state_is_known_afterwards(
    change: Make, here: Any, there: Any
) -> None:
    """As no evidence; and whom the candidate failed stays on stable."""
    change(Promote)
    here.follower.refresh()
    here.away.away = True
    turns = {f"s{n}": await here.say("Hi", session=f"s{n}") for n in range(60)}
    failed = next(name for name, turn in turns.items() if turn.decision.arm is Arm.CANDIDATE)
    here.rescue(turns[failed])
    await here.settled()
    here.away.away = False
    here.assigner.owed.pay(here.away, 60)
    there.follower.refresh()
    for name, turn in turns.items():
        again = await there.say("Hi", session=name)
        arm = Arm.STABLE if name == failed else turn.decision.arm
        assert served(again) == (arm, False)
        assert again.moved_from is None


async def test_a_conversation_in_use_keeps_its_pin(here: Any, mono: Any) -> None:
    """However long it lasts, and although its worker never has to ask the state."""
    ident, _ = await here.on_candidate()
    before = here.away.calls
    for _ in range(3):
        await here.say("Hi", session=ident)
    assert here.away.calls == before
    mono.now += here.away.pin_ttl / TOUCHES
    for _ in range(3):
        await here.say("Hi", session=ident)
    here.executor.shutdown()
    assert here.away.calls == before + 1
    assert here.assigner.pins.get(explicit(here, ident)) is not None


async def test_a_pin_that_another_worker_moved_is_forgotten_when_its_life_is_prolonged(
    here: Any, state: Any, mono: Any
) -> None:
    """Even if its worker never heard of the move."""
    ident, _ = await here.on_candidate()
    key = explicit(here, ident)
    assert state.move(key, state.claim(key, 0), Pin(here.plan.era, NO_CHANCE, Arm.STABLE).code)
    mono.now += here.away.pin_ttl / TOUCHES
    await here.say("Hi", session=ident)
    here.executor.shutdown()
    assert here.assigner.pins.get(key) is None

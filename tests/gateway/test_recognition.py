"""Conversations without an id: recognised by what the client sends again."""

from typing import Any

import pytest

from coalmine.gateway.patience import PATIENCE
from coalmine.routing import Arm

pytestmark = pytest.mark.anyio

LONG = "That is an answer of more than a few words."


async def test_a_thousand_his_are_a_thousand_conversations(here: Any) -> None:
    """Each is drawn afresh, also those of one caller."""
    turns = [await here.say("Hi", caller=f"k{number % 3}") for number in range(1000)]
    assert len({turn.key for turn in turns}) == 1000
    assert 420 < [turn.decision.arm for turn in turns].count(Arm.CANDIDATE) < 580


async def test_a_history_is_found_on_the_other_worker(here: Any, there: Any) -> None:
    """By its beginning, and when the client trims it by its newest answer."""
    for number in range(20):
        first, second = f"Hello, what about {number}? I can help.", f"{LONG} ({number})"
        turn = await here.say(f"Hi {number}")
        await here.answer(turn, first)
        next_turn = await there.say(f"Hi {number}", first, "Go on")
        assert next_turn.key == turn.key
        assert (turn.first, next_turn.first) == (True, False)
        assert next_turn.decision.arm is turn.decision.arm
        await there.answer(next_turn, second)
        trimmed = await here.say("Go on", second, "And then?")
        assert (trimmed.key, trimmed.basis) == (turn.key, "history")
        assert trimmed.decision.arm is turn.decision.arm


async def test_a_short_answer_alone_tells_no_conversation(here: Any) -> None:
    """ "Yes." is in many: by it an old conversation could be taken for one on the candidate."""
    for number in range(10):
        turn = await here.say(f"Is it {number}?")
        await here.answer(turn, "Yes.")
    old = await here.say("A trimmed beginning", "Yes.", "Go on")
    assert (old.decision.arm, old.basis) == (Arm.STABLE, None)
    assert here.counted["coalmine_unrecognised_total", "chat", "unknown_history"] == 1


async def test_a_history_that_began_before_the_rollout_stays_on_stable(here: Any) -> None:
    """It is counted as unrecognised once, is no evidence, and is known from then on."""
    turn = await here.say("Hi", "An answer from before the rollout", "Go on")
    assert (turn.decision.arm, turn.decision.evidence) == (Arm.STABLE, False)
    assert not turn.first
    await here.answer(turn, LONG)
    again = await here.say("Hi", "An answer from before the rollout", "Go on", LONG, "More")
    assert (again.decision.arm, again.basis) == (Arm.STABLE, "history")
    assert here.counted["coalmine_unrecognised_total", "chat", "unknown_history"] == 1


async def test_two_conversations_that_begin_alike_are_one_on_every_worker(
    here: Any, there: Any
) -> None:
    """One caller, the same words, the same answer: nothing tells them apart. All agree."""
    for each in (here, there, here, there):
        turn = await each.say("Hi")
        await each.answer(turn, LONG)
    found = {(await each.say("Hi", LONG, "Go on")).key for each in (here, there)}
    assert len(found) == 1


async def test_an_answer_of_tool_calls_is_recognised(here: Any, there: Any) -> None:
    """By their ids, which clients echo."""
    turn = await here.say("Weather?")
    turn.calls = ("call_1",)
    await here.answer(turn)
    found = await there.assign({"messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]},
        {"role": "tool", "content": "sunny"}]})
    assert found.key == turn.key


async def test_a_chain_of_responses_is_one_conversation(here: Any, there: Any) -> None:
    """Through previous_response_id, over both workers."""
    workers = [here, there]
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


async def test_an_answer_that_took_long_does_not_bring_back_a_moved_pin(
    here: Any, there: Any
) -> None:
    """Another worker moved the conversation while this one was still streaming."""
    first = await here.say("Hi")
    while first.decision.arm is not Arm.CANDIDATE:
        first = await here.say("Hi")
    await here.answer(first, f"{LONG} {first.key.hex()}")
    said = f"{LONG} {first.key.hex()}"
    slow = await here.say("Hi", said, "Go on")
    fast = await there.say("Hi", said, "Go on")
    there.rescue(fast)
    await there.settled()
    here.follower.refresh()
    await here.answer(slow, "a slow answer that is long enough")
    after = await here.say("Hi", said, "Go on", "a slow answer that is long enough", "More")
    assert after.decision.arm is Arm.STABLE


async def test_answers_do_not_keep_a_state_from_being_asked_again(here: Any) -> None:
    """What is not kept because the state failed a moment ago is no new failure of it."""
    turn = await here.say("Hi")
    here.away.away = True
    await here.answer(turn, LONG)  # fails, and the state is left alone for a moment
    here.away.away = False
    for _ in range(4):
        here.mono.now += PATIENCE / 3
        turn = await here.say("Hi")
        await here.answer(turn, f"{LONG} {turn.key.hex()}")
    found = await here.say("Hi", f"{LONG} {turn.key.hex()}", "Go on")
    assert (found.key, here.away.real.resolve(found.aliases)) == (
        turn.key, (turn.key, turn.pin.code))

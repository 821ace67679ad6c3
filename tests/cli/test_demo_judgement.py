"""The demo's judgement: made-up answers, each with the one thing that is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coalmine.cli.demo.facts import Facts, Open, Pair, Turn
from coalmine.cli.demo.judgement import judged, open_at, wrong_turns

GOOD = Facts(
    spoiling="errors", bad=100.0, flip=101.0, last=101.05, by="guardrail hard-errors",
    verdict="hard-errors: too many", phase="rolled_back", workers=2, moves={"rollback": 1},
    pairs=(
        Pair("v1", "attempts", 3, 3), Pair("v2", "attempts", 2, 2), Pair("v2", "failures", 1, 1),
    ),
)


def turn(number: int, release: str | None, **changes) -> Turn:
    """A turn of one conversation, a second long, as it should be."""
    usual = Turn("demo-0001", number, 90.0 + number, 91.0 + number, release, release)
    return replace(usual, **changes)


def told(facts: Facts, *turns: Turn) -> dict[str, bool]:
    """Which promises held."""
    return {promise.name: promise.held for promise in judged(turns, facts).promises}


def broken(facts: Facts, *turns: Turn) -> list[str]:
    """The promises that did not hold."""
    return [name for name, held in told(facts, *turns).items() if not held]


STORY = (turn(1, "v2"), turn(2, "v2"), turn(15, "v1", moved="v2"), turn(16, "v1"))


def test_a_story_in_which_all_went_well_breaks_nothing():
    found = judged(STORY, GOOD)

    assert found.held
    assert found.served == {"v1": (1, 2), "v2": (1, 2)}
    assert found.stayed == {"v1": 0, "v2": 0}
    assert (found.told, found.wrong, found.errors) == (1, (), ())


def test_the_order_in_which_turns_were_taken_down_does_not_matter():
    assert judged(reversed(STORY), GOOD) == judged(STORY, GOOD)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([turn(1, "v1"), turn(2, "v2")], "turn 2: on v2 without a word, it was on v1"),
        ([turn(1, "v2"), turn(2, "v1")], "turn 2: on v1 without a word, it was on v2"),
        ([turn(1, "v1", said="v2")], "turn 1: the header says v1, the text v2"),
        ([turn(1, "v1", said=None)], "turn 1: the header says v1, the text nothing"),
        ([turn(1, "v1"), turn(2, "v2", moved="v1")], "turn 2: a move from v1 to v2"),
        ([turn(1, "v1"), turn(2, "v1", moved="v2")], "turn 2: a move from v2, but it was on v1"),
        ([turn(1, "v2"), turn(2, "v2", moved="v2")], "turn 2: a move from v2 to v2"),
        ([turn(1, "v1", moved="v2"), turn(2, "v2")], "turn 2: on v2 without a word, it was on v1"),
        ([turn(20, "v2")], "turn 20: on v2 after every worker had applied the rollback"),
    ],
)
def test_a_turn_on_a_wrong_release_is_told_with_the_reason(turns, words):
    assert list(wrong_turns(turns, applied=101.05)) == [f"demo-0001, {words}"]


def test_conversations_are_told_apart():
    turns = [turn(1, "v1"), turn(1, "v2", conversation="demo-0002"), turn(2, "v1"),
             turn(2, "v2", conversation="demo-0002")]

    assert judged(turns, replace(GOOD, moves={})).wrong == ()


def test_a_first_turn_may_be_rescued():
    assert list(wrong_turns([turn(1, "v1", moved="v2"), turn(2, "v1")])) == []


def test_a_turn_that_failed_without_an_answer_changes_nothing():
    failed = turn(2, None, said=None, error="500", opened=False)

    assert list(wrong_turns([turn(1, "v2"), failed, turn(3, "v2")])) == []


def test_an_answer_that_began_before_the_last_worker_knew_may_come_from_v2():
    slow = turn(1, "v2", began=101.0, ended=109.0)

    assert list(wrong_turns([slow], applied=101.05)) == []


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"by": "oncall"}, "it rolled back by itself, and not before v2 went bad"),
        ({"bad": 102.0}, "it rolled back by itself, and not before v2 went bad"),
        ({"last": None}, "every worker applied it"),
        ({"workers": 0}, "every worker applied it"),
        ({"phase": "rolling_back"}, "the rollback was completed"),
        ({"moves": {"rollback": 1, "rescue": 1}}, "every move was told to its client"),
        ({"pairs": (Pair("v1", "attempts", 4, 3),)}, "every attempt was counted exactly once"),
        ({"pairs": (Pair("v2", "failures", 0, 1),)}, "every attempt was counted exactly once"),
        ({"pairs": (Pair("v2", "answers", 9, None, "dead"),)},
         "every attempt was counted exactly once"),
    ],
)
def test_a_fact_that_is_not_as_promised_breaks_its_promise_alone(change, promise):
    assert broken(replace(GOOD, **change), *STORY) == [promise]


def test_without_a_rollback_three_promises_are_broken():
    never = replace(GOOD, flip=None, last=None, by="", phase="canary", moves={})

    assert broken(never, turn(1, "v2"), turn(2, "v2")) == [
        "it rolled back by itself, and not before v2 went bad", "every worker applied it",
        "the rollback was completed",
    ]


def test_an_error_that_a_user_saw_breaks_the_promise_and_is_told():
    found = judged([*STORY, turn(17, None, said=None, error="APIError: 500")], GOOD)

    assert found.errors == ("demo-0001, turn 17: APIError: 500",)
    assert not found.held


def test_streams_that_a_dying_engine_cut_are_counted_apart():
    cut = turn(1, "v2", conversation="demo-0009", began=99.0, ended=100.1, error="APIError")
    dies = replace(GOOD, dies=True)

    assert judged([*STORY, cut], dies).cut == 1
    assert judged([*STORY, cut], dies).held
    assert broken(GOOD, *STORY, cut) == ["no error reached a user"]


@pytest.mark.parametrize("change", [{"opened": False}, {"release": "v1"}, {"ended": 99.9}])
def test_other_errors_around_a_dying_engine_are_not_excused(change):
    cut = turn(1, "v2", conversation="demo-0009", began=99.0, ended=100.1, error="APIError")
    dies = replace(GOOD, dies=True)

    assert "no error reached a user" in broken(dies, *STORY, replace(cut, **change))


def test_an_answer_rescued_after_its_headers_had_left_is_counted_apart():
    first = turn(1, "v2", conversation="demo-0009")
    late = turn(2, "v2", conversation="demo-0009", said="v1", ended=100.4)
    dies = replace(GOOD, dies=True, moves={"rollback": 1, "rescue": 1})
    later = turn(3, "v1", conversation="demo-0009", moved="v2")

    found = judged([*STORY, first, late, later], dies)

    assert (found.late, found.wrong, found.held) == (1, (), True)
    assert judged([*STORY, first, late], dies).held, "its last answer: nobody can be told"
    assert not judged([*STORY, first, late, replace(later, moved=None)], dies).held
    assert judged([*STORY, late], GOOD).wrong


def test_what_was_in_flight_at_the_flip():
    turns = [
        turn(1, "v2", began=100.5, ended=103.0),
        turn(1, "v1", conversation="b", moved="v2", began=100.9, ended=102.0),
        turn(1, "v2", conversation="c", began=100.9, ended=102.0, error="cut"),
        turn(1, "v1", conversation="d", began=100.9, ended=102.0),
        turn(1, "v2", conversation="e", began=99.0, ended=100.0),
        turn(1, "v1", conversation="f", moved="v2", began=101.2, ended=102.0),
    ]

    assert open_at(turns, 101.0) == Open(completed=1, rescued=1, cut=1)
    assert open_at(turns, None) == Open()

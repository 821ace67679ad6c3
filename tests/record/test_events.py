"""Events: attempts that come back as they were, and what becomes of everything else."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalmine.guardrails import NO_CONVERSATION, Attempt, Outcome
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import Question
from coalmine.record import json_lines
from coalmine.record.events import LONGEST_TEXT, REASONS, RECORDED, Closed, Reader, to_event
from coalmine.record.json_lines import to_line
from coalmine.routing import Arm

Make = Callable[..., Any]
NAN, INF = float("nan"), float("inf")


def read(*lines: Any, **releases: str) -> tuple[list[Any], Counter[str]]:
    """The events of a service `chat`, and the faults."""
    reader = Reader("chat", **releases)
    return list(reader.events(lines)), reader.faults


def test_every_field_has_its_place(event: Make) -> None:
    line = json.dumps(event(
        12.5, outcome="incomplete", ttft=0.25, inter_token=0.01, seconds=3, tokens=181, cost=0.002,
        score=0.75, key="k1"))
    (found,), faults = read(line)
    assert found == Attempt(
        at=12.5, service="chat", release="v2", arm=Arm.CANDIDATE, deployment="",
        outcome=Outcome.INCOMPLETE, conversation="c1", caller="k1", chance=0.05, first_turn=True,
        evidence=True, ttft=0.25, inter_token=0.01, seconds=3.0, tokens=181, cost=0.002, score=0.75)
    assert not faults


MEASURES = ("ttft", "inter_token", "seconds", "tokens", "cost", "score")


@pytest.mark.parametrize("nothing", [None, ...], ids=["null", "missing"])
def test_what_is_not_known_may_be_null_or_missing(event: Make, nothing: Any) -> None:
    """All but the time, the conversation, the outcome and the release."""
    names = ("arm", "turn", "chance", "key", "service", "closed", *MEASURES)
    (found,), faults = read(event(**dict.fromkeys(names, nothing)), candidate="v2")
    assert found == Attempt(at=1.0, service="chat", release="v2", arm=None, deployment="",
                            outcome=Outcome.OK, conversation="c1")
    assert not faults


@pytest.mark.parametrize(("turn", "first"), [(0, True), (0.0, True), (1, False), (None, False)])
def test_only_turn_0_is_a_first_turn(event: Make, turn: Any, first: bool) -> None:
    """A table that lacks some numbers writes all of them with a point."""
    (found,), _ = read(event(turn=turn))
    assert found.first_turn is first


@pytest.mark.parametrize(("fields", "evidence"), [
    ({}, True), ({"chance": 0.5}, True), ({"chance": None}, False), ({"chance": 0}, False),
    ({"chance": 1}, False), ({"arm": None}, False), ({"conversation": ""}, False),
    ({"conversation": NO_CONVERSATION}, False),
])
def test_evidence_needs_an_arm_a_conversation_and_a_chance_of_either(
    event: Make, fields: dict[str, Any], evidence: bool
) -> None:
    (found,), faults = read(event(**fields), candidate="v2")
    assert found.evidence is evidence
    assert not faults


def test_an_end_is_told_by_the_conversation_alone() -> None:
    assert read({"t": 3, "conversation": "c1", "closed": True}) == ([Closed(3.0, "c1")], {})


MALFORMED: list[dict[str, Any]] = [
    {"t": ...}, {"t": None}, {"t": "1"}, {"t": True}, {"t": [1]},
    {"conversation": ...}, {"conversation": None}, {"conversation": 7}, {"conversation": "\ud800"},
    {"conversation": "x" * (LONGEST_TEXT + 1)},
    {"outcome": ...}, {"outcome": None}, {"outcome": "fine"}, {"outcome": ["ok"]},
    {"outcome": "down"}, {"outcome": "waiting"}, {"outcome": "OK"},
    {"arm": "blue"}, {"arm": {}}, {"arm": ""}, {"arm": True},
    {"turn": -1}, {"turn": 0.5}, {"turn": "0"}, {"turn": False}, {"turn": NAN}, {"turn": 2**63},
    {"turn": 1e30},
    {"release": 2}, {"key": 5}, {"key": ["k"]}, {"service": 5}, {"closed": 1}, {"closed": "true"},
    {"closed": True, "conversation": ""}, {"closed": True, "conversation": NO_CONVERSATION},
]


@pytest.mark.parametrize("fields", MALFORMED, ids=str)
def test_what_is_not_formed_so_is_left_out(event: Make, fields: dict[str, Any]) -> None:
    """And the next one is read as if nothing had been."""
    found, faults = read(event(**fields), event(conversation="next"))
    assert [one.conversation for one in found] == ["next"]
    assert faults == {"malformed": 1}


@pytest.mark.parametrize("line", ["{", b"\xff", "[1]", "7", "null", [1], 7, None, "x" * 100_000])
def test_what_is_no_object_is_left_out(line: Any) -> None:
    assert read(line) == ([], {"malformed": 1})


@pytest.mark.parametrize("line", ["", "\n", b"\r\n", "  "])
def test_an_empty_line_is_nothing(line: Any) -> None:
    """Not even a fault: files end with one."""
    assert read(line) == ([], {})


@pytest.mark.parametrize(("later", "reason"), [
    ({"t": 0.5}, "out_of_order"), ({"t": 1.0}, "duplicate"), ({"t": NAN}, "clock"),
    ({"t": INF}, "clock"), ({"t": -5}, "clock"), ({"t": 9 * 86400.0}, "clock"),
    ({"t": 2.0, "release": "v3"}, "unknown_release"), ({"t": 2.0, "service": "other"},
                                                       "other_service"),
])
def test_what_cannot_have_been_is_left_out(
    event: Make, later: dict[str, Any], reason: str
) -> None:
    """Under its own name each; tests/record/test_order.py has more of the time."""
    found, faults = read(event(), event(**later), event(3.0, service="chat"))
    assert [one.at for one in found] == [1.0, 3.0]
    assert faults == {reason: 1}


def test_a_conversation_that_ended_begins_no_more(event: Make) -> None:
    end = {"t": 2, "conversation": "c1", "closed": True}
    found, faults = read(event(), end, event(3), {**end, "t": 4})
    assert found[1:] == [Closed(2.0, "c1")]
    assert faults == {"duplicate": 2}


@pytest.mark.parametrize(("measure", "value"), [
    (measure, value) for measure in MEASURES
    for value in (NAN, INF, -INF, -1, -0.5, "1", True, [], 10**400)
] + [("score", 1.01), ("tokens", 1.5), ("tokens", 2**64)])
def test_a_measure_that_cannot_be_is_left_out_of_its_event(
    event: Make, measure: str, value: Any
) -> None:
    (found,), faults = read(event(**{measure: value}))
    assert getattr(found, measure) == (0.0 if measure == "seconds" else None)
    assert found.evidence
    assert faults == {"measure": 1}


@pytest.mark.parametrize("chance", [NAN, INF, -0.1, 1.1, 5, "half", True, []])
def test_a_chance_that_cannot_be_makes_no_evidence(event: Make, chance: Any) -> None:
    (found,), faults = read(event(chance=chance))
    assert (found.chance, found.evidence) == (None, False)
    assert faults == {"chance": 1}


# releases -----------------------------------------------------------------------------------------
def test_the_releases_are_those_of_the_first_attempts_on_each_arm(event: Make) -> None:
    """Without an arm nobody knows whose it is, so nothing is learned of it."""
    reader = Reader("chat")
    found = list(reader.events([
        event(1, release="v0", arm=None), event(2), event(3, release="v1", arm="stable"),
        event(4, release="v3"), event(5, release="v1"), event(6, release="v2", arm="stable"),
        event(7, release="v1", arm=None), event(8, release=""), event(9, release=None)]))
    assert [one.at for one in found] == [2, 3, 7]
    assert (reader.stable, reader.candidate) == ("v1", "v2")
    assert reader.faults == {"unknown_release": 6}


def test_releases_that_are_told_are_not_learned(event: Make) -> None:
    """Of a recording over several rollouts one is read."""
    found, faults = read(
        event(1), event(2, release="v1", arm="stable"), event(3, release="v2", arm="stable"),
        event(4, release="v3"), stable="v2", candidate="v3")
    assert [one.at for one in found] == [3, 4]
    assert faults == {"unknown_release": 2}


def test_what_is_left_out_teaches_nothing(event: Make) -> None:
    reader = Reader("chat")
    assert reader.read(event(NAN, release="wrong")) is None
    assert reader.candidate is None


# from the gateway and back ------------------------------------------------------------------------
def back(attempt: Attempt) -> Attempt:
    """What a reader makes of an attempt that was recorded."""
    found = Reader(attempt.service).read(to_line(to_event(attempt)))
    assert isinstance(found, Attempt)
    return found


@pytest.mark.parametrize("fields", [
    {}, {"first_turn": False}, {"evidence": False, "chance": None}, {"seconds": 0.0},
    {"ttft": None, "inter_token": None, "tokens": None}, {"cost": 0.5, "score": 0.0},
    {"conversation": "", "evidence": False, "chance": None, "first_turn": False},
    {"arm": Arm.STABLE, "release": "v1"}, {"caller": ""},
    *({"outcome": outcome} for outcome in sorted(RECORDED)),
])
def test_an_attempt_that_was_recorded_reads_back(attempt: Make, fields: dict[str, Any]) -> None:
    """But for the deployment, and the alias, which is no hash."""
    made = attempt(1_700_000_000.123456, **fields)
    assert back(made) == replace(made, deployment="", alias="")


def test_the_evidence_of_what_was_recorded_is_that_of_what_happened(attempt: Make) -> None:
    """The very same: a replay bets as the controller did."""
    rng = random.Random(7)
    questions = [Question(measure, 0.1) for measure in Measure]
    lived, replayed = (Evidence(questions, horizon=3600.0) for _ in range(2))
    for number in range(3000):
        name = rng.randrange(number // 3 + 1)
        arm, release = (Arm.CANDIDATE, "v2") if name % 3 == 0 else (Arm.STABLE, "v1")
        made = attempt(
            1_700_000_000 + number * 1.7, arm=arm, release=release, conversation=f"{name:016x}",
            outcome=rng.choice([Outcome.OK] * 9 + [Outcome.ERROR]), first_turn=rng.random() < 0.6,
            caller=f"{rng.randrange(7):016x}", chance=0.3, evidence=rng.random() < 0.9,
            ttft=rng.expovariate(3), tokens=rng.randrange(400), cost=rng.random() / 100,
            score=rng.random())
        lived.add(made)
        replayed.add(back(made))
    was, found = lived.to_document(), replayed.to_document()
    assert was.pop("aliases"), "what people chose is not recorded"
    assert not found.pop("aliases")
    assert found == was
    assert all(min(test.units) > 50 for test in lived.tests.values())


def test_what_was_no_evidence_is_none_when_it_is_read(attempt: Make) -> None:
    """One that finished after a rollback, for example: it had a chance once."""
    assert not back(attempt(evidence=False, chance=0.5)).evidence


def test_the_turn_is_0_for_first_turns_alone(attempt: Make) -> None:
    assert to_event(attempt(), turn=7)["turn"] == 0
    assert to_event(attempt(first_turn=False), turn=7)["turn"] == 7
    assert "turn" not in to_event(attempt(first_turn=False))
    assert "turn" not in to_event(attempt(first_turn=False), turn=0)


def test_an_end_reads_back() -> None:
    end = Closed(3.5, "c1")
    assert Reader("chat").read(to_line(to_event(end))) == end


def test_a_number_that_is_none_is_not_written(attempt: Make) -> None:
    """Not every reader of JSON knows NaN."""
    assert "ttft" not in to_event(attempt(ttft=NAN))
    assert "cost" not in to_event(attempt(cost=INF))


# anything at all ----------------------------------------------------------------------------------
NUMBERS = st.floats() | st.integers() | st.integers(0, 9) | st.floats(0, 1)
VALUES = st.none() | st.booleans() | NUMBERS | st.text(max_size=4) | st.lists(st.none(), max_size=1)
USUAL = st.fixed_dictionaries({
    "t": st.floats(0, 1e7) | NUMBERS, "conversation": st.sampled_from("abc-") | VALUES,
    "outcome": st.sampled_from(["ok", "error", "disconnect"]) | VALUES,
    "release": st.sampled_from(["v1", "v2"]) | VALUES}, optional={
    "arm": st.sampled_from(["stable", "candidate"]) | VALUES, "turn": st.integers(0, 3) | VALUES,
    "closed": st.just(True) | VALUES, "service": st.just("chat") | VALUES, "chance": VALUES,
    "key": VALUES, **dict.fromkeys(MEASURES, VALUES)})
ANYTHING = st.recursive(VALUES, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(
    st.text(max_size=4), inside, max_size=3), max_leaves=5)


def well_formed(found: list[Any]) -> None:
    """Every attempt is one that the evidence can take, in time order."""
    assert [one.at for one in found] == sorted(one.at for one in found)
    for one in found:
        assert type(one.at) is float
        assert 0 <= one.at < INF
        assert isinstance(one.conversation, str)
        if isinstance(one, Closed):
            continue
        assert one.outcome in RECORDED
        assert one.release
        assert one.service == "chat"
        assert one.chance is None or 0 <= one.chance <= 1
        assert not one.evidence or (one.arm is not None and one.conversation)
        assert one.tokens is None or (type(one.tokens) is int and 0 <= one.tokens < 2**63)
        for measure in (one.ttft, one.inter_token, one.seconds, one.cost, one.score):
            assert measure is None or (type(measure) is float and 0 <= measure < INF)
        assert one.score is None or one.score <= 1
        one.conversation.encode()
        one.caller.encode()


@given(st.lists(st.binary(max_size=100) | st.text(max_size=100) | ANYTHING, max_size=8))
def test_no_line_raises_whatever_it_is(lines: list[Any]) -> None:
    found, _ = read(*lines)
    well_formed(found)


@settings(max_examples=300)
@given(st.lists(USUAL, max_size=12))
def test_what_is_read_is_well_formed_and_the_rest_is_counted(events: list[dict[str, Any]]) -> None:
    """Each event is read or left out under one name."""
    found, faults = read(*events)
    well_formed(found)
    left_out = sum(times for reason, times in faults.items() if reason not in ("chance", "measure"))
    assert len(found) + left_out == len(events)
    assert set(faults) <= set(REASONS)


@given(st.lists(USUAL, max_size=8))
def test_orjson_and_json_read_the_same(events: list[dict[str, Any]]) -> None:
    """NaN, too: a laptop without orjson replays what the gateway's machine does."""
    lines = [json.dumps(one) for one in events]
    fast = read(*lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "orjson", None)
        assert repr(read(*lines)) == repr(fast)

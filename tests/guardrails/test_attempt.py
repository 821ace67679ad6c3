"""An attempt as a row: what was written comes back, and what makes no sense stays out."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.guardrails import FAILURES, Attempt, Outcome, from_row, to_row
from coalmine.routing import Arm

MEASURES = st.none() | st.floats(min_value=0, max_value=1e6)
NAMES = st.text(max_size=8)


@given(st.builds(
    Attempt, at=st.floats(min_value=0, max_value=1e10), service=NAMES, release=NAMES,
    arm=st.none() | st.sampled_from(Arm), deployment=NAMES, outcome=st.sampled_from(Outcome),
    conversation=NAMES, caller=NAMES, alias=NAMES,
    chance=st.none() | st.floats(min_value=0, max_value=1), first_turn=st.booleans(),
    evidence=st.booleans(), ttft=MEASURES, inter_token=MEASURES,
    seconds=st.floats(min_value=0, max_value=1e6), tokens=st.none() | st.integers(0, 9999),
    cost=MEASURES,
))
def test_an_attempt_survives_its_way_through_json(attempt: Attempt) -> None:
    """The controller counts what the worker saw."""
    assert from_row(json.loads(json.dumps(to_row(attempt)))) == attempt


BAD_MEASURES: list[tuple[int, Any, str]] = [
    (12, float("nan"), "ttft"), (12, -1.0, "ttft"), (12, "fast", "ttft"), (12, True, "ttft"),
    (13, float("inf"), "inter_token"), (15, "many", "tokens"), (15, -3, "tokens"),
    (15, float("nan"), "tokens"), (16, float("-inf"), "cost"), (9, "half", "chance"),
]


@pytest.mark.parametrize(("place", "value", "name"), BAD_MEASURES)
def test_a_senseless_measure_is_dropped(
    attempt: Callable[..., Attempt], place: int, value: Any, name: str
) -> None:
    """It would stay in a window's sums for ever, or end the controller's thread."""
    row = to_row(attempt(tokens=3, ttft=1.0, inter_token=1.0, cost=1.0, chance=0.5))
    row[place] = value
    assert getattr(from_row(row), name) is None


@pytest.mark.parametrize("value", [0, 1, None, "true", float("inf")])
def test_only_true_is_a_first_turn(attempt: Callable[..., Attempt], value: Any) -> None:
    """Earlier versions wrote a number there that said nothing."""
    row = to_row(attempt(first_turn=True))
    assert from_row(row).first_turn
    row[10] = value
    assert not from_row(row).first_turn


@pytest.mark.parametrize("row", [
    None, 5, "x", [], {}, [1] * 16, [1] * 18,
    [float("nan"), *to_row(Attempt(1, "s", "r", None, "d", Outcome.OK))[1:]],
    [float("inf"), *to_row(Attempt(1, "s", "r", None, "d", Outcome.OK))[1:]],
    ["soon", *to_row(Attempt(1, "s", "r", None, "d", Outcome.OK))[1:]],
    [10**400, *to_row(Attempt(1, "s", "r", None, "d", Outcome.OK))[1:]],
])
def test_what_is_no_attempt_is_refused(row: Any) -> None:
    """One whose time is not finite would never leave a window."""
    with pytest.raises(ValueError, match="not an attempt"):
        from_row(row)


def test_what_the_client_caused_is_never_the_releases(attempt: Callable[..., Attempt]) -> None:
    """Nor is an arm that was down an attempt at all."""
    counted = {outcome for outcome in Outcome if attempt(outcome=outcome).judged}
    assert counted == {Outcome.OK, *FAILURES}
    assert not {Outcome.CLIENT_ERROR, Outcome.DISCONNECT, Outcome.DOWN} & FAILURES

"""Which of two views of one service counts: what is applied, or what the state says."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.rollout import (
    BakeOver,
    Drained,
    Halt,
    Promote,
    Resume,
    RollBack,
    Service,
    Start,
)
from coalmine.rollout.precedence import is_behind, is_overruled

Story = Callable[..., Service]


@pytest.fixture
def story(after: Callable[..., Service], event: Callable[..., Any]) -> Story:
    """Return the service after events of these kinds."""
    return lambda *kinds: after(*map(event, kinds))


@pytest.mark.parametrize(("theirs", "ours", "behind"), [
    ((Start,), (Start, Halt), True),
    ((Start, Halt), (Start,), False),
    ((Start, Halt), (Start, Halt), False),
    ((Start, Halt), (Start, RollBack), True),
    ((Start, RollBack), (Start, Halt), False),
    ((Start, Halt, Resume), (Start, RollBack), False),
], ids=["older", "newer", "the same", "no rollback on a tie", "a rollback on a tie",
        "newer than a rollback"])
def test_an_older_epoch_is_behind_and_on_a_tie_what_is_not_rolled_back(
    story: Story, theirs: tuple[Any, ...], ours: tuple[Any, ...], behind: bool
) -> None:
    """What is behind is put back."""
    assert is_behind(story(*theirs), story(*ours)) is behind


@pytest.mark.parametrize(("theirs", "overruled"), [
    ((Start,), True),
    ((Start, Halt, Resume, Halt), True),
    ((Start, Promote, Promote, Promote), True),
    ((Start, Promote, Promote, Promote, BakeOver), True),
    ((), False),
    ((Start, RollBack), False),
    ((Start, RollBack, Drained), False),
    ((Start, RollBack, Drained, Start), False),
], ids=["as it was", "paused later", "baking", "promoted", "before it began", "rolled back",
        "drained", "the next rollout"])
def test_a_rollback_that_waits_wins_over_all_of_its_own_rollout(
    story: Story, theirs: tuple[Any, ...], overruled: bool
) -> None:
    """And over nothing else."""
    assert is_overruled(story(*theirs), story(Start, RollBack)) is overruled


def test_what_is_no_rollback_of_a_rollout_overrules_nothing(story: Story) -> None:
    """Going back while idle is a change like others."""
    assert not is_overruled(story(Start), story())

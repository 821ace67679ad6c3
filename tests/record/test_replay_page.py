"""docs/replay.md says of every field and fault what the code does."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalmine.record.events import REASONS, Closed, Reader, to_event
from coalmine.record.replay import Replay
from coalmine.rollout import read_policy
from coalmine.rollout.policy import ServicePolicy
from coalmine.sim.conversations import events
from coalmine.sim.scenarios import named

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "replay.md").read_text("utf-8")
SMALL = "services: {chat: {releases: {v1: {slot: blue}}, stable: v1}}\n"


def rows() -> dict[str, list[str]]:
    """The table's cells by field."""
    table = PAGE.partition("## Recording")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def test_the_example_is_read_whole() -> None:
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    reader = Reader("chat")
    first, second, end = reader.events(example[1].splitlines())
    assert not reader.faults
    assert isinstance(end, Closed)
    assert (first.evidence, first.first_turn, second.failed) == (True, True, True)
    assert {name for line in example[1].splitlines() for name in json.loads(line)} <= set(rows())


def test_every_field_that_is_written_is_explained(attempt: Callable[..., Any]) -> None:
    written = to_event(attempt(cost=0.1, score=0.5, first_turn=False), turn=1)
    assert {*written, "closed"} == set(rows())


def test_every_reason_is_explained() -> None:
    assert [name for name in REASONS if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("field", sorted(rows()))
def test_what_is_said_of_a_field_that_is_left_out_is_true(
    field: str, event: Callable[..., Any]
) -> None:
    """Either it is left out with that name, or nothing is wrong."""
    for nothing in (None, ...):
        reader = Reader("chat", stable="v1", candidate="v2")
        reader.read(event(**{field: nothing}))
        reason = re.match(r"`(\w+)`", rows()[field][1])
        assert reader.faults == ({reason[1]: 1} if reason else {})


@pytest.mark.parametrize("field", sorted(rows()))
def test_what_is_said_of_a_list_in_its_place_is_true(
    field: str, event: Callable[..., Any]
) -> None:
    """It is no value of any field."""
    reader = Reader("chat", stable="v1", candidate="v2")
    reader.read(event(**{field: [0]}))
    told = rows()[field][2]
    if told.startswith("the same"):
        told = rows()["ttft"][2]
    (reason,) = reader.faults
    assert f"`{reason}`" in told


def test_the_policys_line_can_be_used_and_shows_the_defaults() -> None:
    line = re.search(r"```yaml\n(record:.*?)```", PAGE, re.DOTALL)
    assert line is not None
    assert read_policy(line[1] + SMALL, "coalmine.yaml").record == read_policy(
        "record: {}\n" + SMALL, "coalmine.yaml").record


@pytest.mark.parametrize(("page", "scenario", "line"), [
    ("replay.md", "errors", r"^ +00:09:06  rollback      0 %  (errors: .*)$"),
    ("verdicts.md", "dead", r"^> (errors: .*)$"),
])
def test_examples_are_what_a_simulated_canary_gives(page: str, scenario: str, line: str) -> None:
    """With the default guardrails and the default seed."""
    found = re.search(line, (DOCS / page).read_text("utf-8"), re.MULTILINE)
    assert found is not None
    policy = ServicePolicy.model_validate(
        {"releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}, "stable": "v1"})
    replay = Replay("chat", policy)
    *_, last = replay.run(Reader("chat").events(events(named(scenario))))
    assert last.reason == found[1]

"""Replaying recorded events by a policy."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coalmine.cli.main import app
from coalmine.guardrails import Attempt, Outcome
from coalmine.record.events import Closed, Reader
from coalmine.record.replay import Moment, Replay
from coalmine.rollout.policy import ServicePolicy
from coalmine.routing import Arm
from coalmine.sim.conversations import events
from coalmine.sim.scenarios import named

RELEASES = {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}
DAY = {"steps": [{"weight": 5, "for": "24h"}]}


def policy(**fields: Any) -> ServicePolicy:
    return ServicePolicy.model_validate(
        {"releases": RELEASES, "stable": "v1", "rollout": DAY, **fields})


def simulated(name: str, seconds: float = 1800.0, **fields: Any) -> Iterator[Attempt | Closed]:
    """The events of a simulated canary, as a reader reads them."""
    return Reader("chat").events(events(named(name, seconds=seconds, seed=5, **fields)))


@pytest.fixture
def replayed() -> Callable[..., tuple[Replay, list[Moment]]]:
    """A replay that has run to its end, and what happened."""

    def run(of: Iterable[Attempt | Closed], **fields: Any) -> tuple[Replay, list[Moment]]:
        replay = Replay("chat", policy(**fields))
        return replay, list(replay.run(of))

    return run


@pytest.mark.parametrize(("name", "guardrail", "most"), [
    ("dead", "errors", 8), ("errors", "errors", 500), ("slow", "ttft", 500),
    ("score", "score", 600), ("hang", "errors", 12),
])
def test_a_bad_candidate_is_rolled_back_by_the_defaults(
    replayed: Any, name: str, guardrail: str, most: int
) -> None:
    """The first decision says by which guardrail, and after how much of the candidate."""
    replay, moments = replayed(simulated(name))
    found = replay.result()
    assert (found.decision, found.guardrail) == ("rollback", guardrail)
    assert 1 <= found.conversations <= found.attempts <= most
    assert moments[-1].what == "rollback"
    assert moments[-1].at == found.at
    assert f"{guardrail}: " in moments[-1].reason


def test_nothing_is_decided_on_a_healthy_candidate(replayed: Any) -> None:
    """All that happens is the beginning."""
    replay, moments = replayed(simulated("healthy"))
    assert [moment.what for moment in moments] == ["start", "recorded", "end"]
    found = replay.result().to_document()
    assert found["decision"] == "none"
    assert found["at"] is None
    assert found["attempts"] > found["conversations"] > 100


def test_steps_end_as_the_policy_under_test_says(replayed: Any) -> None:
    """The recorded weight is told beside it; past the last step it is promoted, into the bake."""
    rollout = {"steps": [{"weight": 1, "for": "5m"}, {"weight": 50, "for": "5m"}], "bake": "10m"}
    replay, moments = replayed(simulated("healthy"), rollout=rollout)
    assert [(moment.what, moment.weight) for moment in moments] == [
        ("start", 1.0), ("recorded", 5.0), ("step", 50.0), ("promote", 98.0), ("promoted", 0.0)]
    times = [moment.at for moment in moments]
    assert times[2] - times[0] == pytest.approx(300.0, abs=10.0)
    assert replay.result().decision == "promote"


def test_a_step_that_requires_evidence_is_promoted_when_it_is_there(replayed: Any) -> None:
    """Not at the end of its soak."""
    rollout = {"steps": [{"weight": 5, "require": "evidence"}], "bake": "48h"}
    replay, _ = replayed(simulated("healthy", 4 * 3600.0), rollout=rollout)
    found = replay.result()
    assert found.decision == "promote"
    assert found.at > 600.0


def test_one_caller_alone_only_pauses(replayed: Any) -> None:
    """And nothing worse comes of it while the pause is not over."""
    replay, moments = replayed(simulated("one-key", 600.0))
    assert (replay.result().decision, replay.result().guardrail) == ("pause", "errors")
    assert "it vanishes without the key" in moments[-1].reason


def test_a_dry_run_decides_nothing(replayed: Any) -> None:
    """That is what a replay with it shows."""
    dry = [{"name": "errors", "metric": "error_rate", "rule": "evidence", "dry_run": True}]
    replay, moments = replayed(simulated("dead", 300.0), guardrails=dry)
    assert replay.result().decision == "none"
    (told,) = [moment for moment in moments if moment.what == "dry run"]
    assert told.guardrail == "errors"
    assert told.reason.startswith("errors: the candidate failed ")


def test_long_answers_that_come_later_than_failures_are_no_fault(replayed: Any) -> None:
    """As live: it is known that they are waited for, though the events only say how they ended."""
    draw = random.Random(1)
    made = []
    for number in range(2000):
        candidate, asked, bad = draw.random() < 0.25, number / 30.0, draw.random() < 0.02
        took = 0.1 if bad else 45.0 if candidate else 15.0
        made.append(Attempt(
            at=asked + took, service="chat", release="v2" if candidate else "v1",
            arm=Arm.CANDIDATE if candidate else Arm.STABLE, deployment="",
            outcome=Outcome.ERROR if bad else Outcome.OK, conversation=f"c{number}", chance=0.25,
            first_turn=True, evidence=True, seconds=took))
    made.sort(key=lambda attempt: attempt.at)
    errors = [{"name": "errors", "metric": "error_rate", "rule": "evidence"}]
    replay, moments = replayed(made, guardrails=errors)
    assert replay.result().decision == "none"
    assert moments[-1].verdict.findings[0].evidence < 20.0


def test_it_looks_while_nobody_says_anything(replayed: Any) -> None:
    """A pause within a gap has its timebox there, not at the next event."""
    guardrails = [{"name": "slower", "metric": "ttft", "rule": "evidence", "severity": "mild",
                   "timebox": "20m"}]
    made = list(simulated("slow", 1800.0))
    paused, _ = replayed(made, guardrails=guardrails)
    at = paused.result().at
    assert paused.result().decision == "pause"
    silent = [event for event in made if event.at <= at + 30.0]
    later = replace(next(e for e in reversed(silent) if isinstance(e, Attempt)),
                    at=at + 86_400.0, conversation="later")
    _, moments = replayed([*silent, later], guardrails=guardrails)
    assert moments[-1].what == "rollback"
    assert moments[-1].at == pytest.approx(at + 1200.0, abs=100.0)


def test_without_events_there_is_no_decision(replayed: Any) -> None:
    """Nothing began."""
    replay, moments = replayed([])
    assert moments == []
    assert replay.result().to_document() == {
        "decision": "none", "at": None, "conversations": 0, "attempts": 0, "guardrail": None}


# the command --------------------------------------------------------------------------------------
@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """`coalmine replay` on a policy and lines of events."""

    def call(lines: Iterable[str], *more: str, rules: str | None = None) -> Any:
        (tmp_path / "coalmine.yaml").write_text(rules or json.dumps({"services": {"chat": {
            "releases": RELEASES, "stable": "v1", "rollout": DAY}}}))
        (tmp_path / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return CliRunner().invoke(app, [
            "replay", str(tmp_path / "coalmine.yaml"), str(tmp_path / "events.jsonl"), *more])

    return call


def dead() -> list[str]:
    return [json.dumps(event) for event in events(named("dead", seconds=300.0, seed=5))]


def test_the_last_line_with_json_is_the_first_decision(run: Any) -> None:
    """Before it the timeline, in words."""
    done = run(dead(), "--json")
    assert done.exit_code == 0, done.output
    *timeline, last = done.stdout.splitlines()
    assert set(json.loads(last)) == {"decision", "at", "conversations", "attempts", "guardrail"}
    assert json.loads(last)["decision"] == "rollback"
    assert "rollback" in timeline[-1]
    assert "where stable fails" in timeline[-1]


def test_people_read_it_in_a_sentence(run: Any) -> None:
    """Without --json."""
    done = run(dead())
    assert "first decision: rollback by errors, after " in done.stdout.splitlines()[-1]
    assert "no decision in 0 conversations" in run([]).stdout


def test_at_the_end_each_guardrail_says_how_far_it_is(run: Any) -> None:
    """Where nothing was decided one wants to know how close it was."""
    done = run([json.dumps(event) for event in events(named("healthy", seconds=600.0, seed=5))])
    assert done.exit_code == 0
    said = done.stdout.split(" end ")[1]
    for word in ("step 1 soaks for", "errors: the candidate failed", "ttft: ", "bar 1 000",
                 "no decision in"):
        assert word in said


@pytest.mark.parametrize(("old", "new", "hint"), [
    ('"v2"', '"next"', "the events name the releases now (stable), next (candidate)"),
    ('"t"', '"time"', "see docs/replay.md"),
])
def test_events_that_the_policy_cannot_judge_are_an_error(
    run: Any, old: str, new: str, hint: str
) -> None:
    """A check that passes because nothing was looked at is worse than none."""
    lines = [line.replace(old, new).replace('"v1"', '"now"') for line in dead()]
    done = run(lines, "--json")
    assert done.exit_code == 1
    assert "no event could be judged" in done.output
    assert hint in done.output.replace("\n", " ")


def test_events_of_before_a_promotion_say_which_release_was_stable(run: Any) -> None:
    """The policy names whatever was stable first; by now it may be the other."""
    swap = {'"v1"': '"v2"', '"v2"': '"v1"'}
    lines = [re.sub('"v[12]"', lambda found: swap[found[0]], line) for line in dead()]
    done = run(lines)
    assert done.exit_code == 1
    assert "replay with a copy that says stable: v2" in done.output.replace("\n", " ")


def test_bad_lines_are_left_out_and_told(run: Any) -> None:
    """They change nothing of the decision."""
    good = dead()
    timeless = '{"t": NaN, "conversation": "a", "release": "v1", "arm": "stable", "outcome": "ok"}'
    bad = ["rubbish", timeless, good[0], good[0],
           good[1].replace('"v1"', '"v9"').replace('"v2"', '"v9"')]
    clean, dirty = run(good, "--json"), run([*good[:1], *bad, *good[1:]], "--json")
    assert clean.stdout.splitlines()[-1] == dirty.stdout.splitlines()[-1]
    told = next(line for line in dirty.stdout.splitlines() if line.startswith("left out: "))
    for reason in ("1 malformed", "1 clock", "2 duplicate", "1 unknown_release"):
        assert reason in told


def test_a_policy_with_several_services_wants_one_named(run: Any) -> None:
    """And says which there are."""
    rules = json.dumps({"services": {name: {"releases": RELEASES, "stable": "v1"}
                                     for name in ("chat", "code")}})
    done = run(dead(), rules=rules)
    assert done.exit_code == 1
    assert run(dead(), "--service", "code", rules=rules).exit_code == 0
    assert run(dead(), "--service", "nope", rules=rules).exit_code == 1


def test_what_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    """Neither policy nor events."""
    missing = str(tmp_path / "none")
    assert CliRunner().invoke(app, ["replay", missing, missing]).exit_code == 1

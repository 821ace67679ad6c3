"""The judges that the engine is compared with, and how a run is watched."""

from __future__ import annotations

from typing import Any

from benchmarks.verdicts.kayenta import Kayenta, _fails
from benchmarks.verdicts.runs import watch
from benchmarks.verdicts.static import Static

from coalmine.sim.scenarios import named


def attempt(arm: str, number: int, *, minute: float = 0.5, failed: bool = False,
            ttft: float = 0.3, score: float = 0.9) -> dict[str, Any]:
    """An attempt of a conversation of its own."""
    event: dict[str, Any] = {"t": minute * 60, "conversation": f"{arm}{number}", "turn": 0,
                             "arm": arm, "outcome": "error" if failed else "ok"}
    return event if failed else {**event, "ttft": ttft, "score": score}


def clock(minute: float) -> dict[str, Any]:
    """An event that tells nothing but the time."""
    return {"t": minute * 60, "conversation": "x", "closed": True}


def judged(judge: Any, minutes: int, *, candidates: int = 30, failed: int = 0,
           stable_failed: int = 0, ttft: float = 0.3, score: float = 0.9) -> str | None:
    """Return what a judge says of so many minutes, each with so many candidate requests."""
    for minute in range(minutes):
        for number in range(200):
            assert judge.take(attempt("stable", number, minute=minute + 0.5,
                                      failed=number < stable_failed)) is None
        for number in range(candidates):
            judge.take(attempt("candidate", number, minute=minute + 0.5, failed=number < failed,
                               ttft=ttft, score=score + number / 1e5))
        found = judge.take(clock(minute + 1))
        if found is not None:
            return str(found)
    return None


def test_more_than_twice_the_errors_break_the_first_rule_after_two_minutes():
    """And exactly twice do not: 1 of 30 against 3.5 of 200."""
    assert judged(Static("s", 30), 2, failed=1, stable_failed=3) == "errors > 2x"
    assert judged(Static("s", 30), 1, failed=1, stable_failed=3) is None
    assert judged(Static("s", 30), 5, failed=1, stable_failed=4) is None


def test_more_than_5_percent_errors_break_the_second_rule_also_when_stable_fails_too():
    """After three minutes."""
    assert judged(Static("s", 30), 2, failed=2, stable_failed=10) is None
    assert judged(Static("s", 30), 3, failed=2, stable_failed=10) == "errors > 5 %"


def test_a_p95_30_percent_above_stables_breaks_the_third_rule():
    """After five minutes."""
    assert judged(Static("s", 30), 4, ttft=0.4) is None
    assert judged(Static("s", 30), 5, ttft=0.4) == "ttft p95 +30 %"
    assert judged(Static("s", 30), 9, ttft=0.38) is None


def test_rules_say_nothing_below_their_minimum_of_conversations():
    """However bad it is."""
    assert judged(Static("s", 30), 9, candidates=29, failed=29) is None
    assert judged(Static("s", 1), 2, candidates=1, failed=1) == "errors > 2x"


def test_minutes_without_events_are_judged_one_by_one():
    """A silent candidate breaks no rule."""
    judge = Static("s", 1)
    judge.take(attempt("candidate", 1, failed=True))
    assert judge.take(clock(30)) == "errors > 2x"
    assert Static("s", 1).take(clock(30)) is None


def test_kayenta_needs_fifty_points():
    """And then sees what is far off."""
    assert judged(Kayenta(), 49, ttft=0.6) is None
    assert judged(Kayenta(), 50, ttft=0.6) == "ttft"
    assert judged(Kayenta(), 50, failed=3) == "errors"


def test_kayenta_knows_which_way_is_bad():
    """A lower score fails, a higher one does not."""
    assert judged(Kayenta(), 50, score=0.8) == "score"
    assert judged(Kayenta(), 60, score=0.95) is None
    assert judged(Kayenta(), 60, ttft=0.2) is None


def test_kayentas_interval_is_that_of_the_shift():
    """98 %: the 1 % tail on the bad side must lie beyond a quarter of the estimated shift."""
    control = [float(x) for x in range(60)]
    assert _fails(control, [x + 20.0 for x in control])
    assert not _fails(control, [x + 8.0 for x in control])
    assert not _fails(control, [x - 20.0 for x in control])


class Patient:
    """Finds something at the third event that it is given."""

    def __init__(self, name: str, patience: int) -> None:
        self.name, self._left, self.seen = name, patience, 0

    def take(self, event: dict[str, Any]) -> str | None:
        self.seen += 1
        return "had enough" if self.seen == self._left else None


def test_a_run_ends_when_all_judges_have_found_something():
    """Each is asked no more once it has."""
    quick, slow = Patient("quick", 3), Patient("slow", 200)
    run = watch(named("dead", weight=100.0), [quick, slow])
    assert (quick.seen, slow.seen, run["events"]) == (3, 200, 200)
    assert run["found"]["quick"]["requests"] == 3
    assert run["found"]["slow"]["why"] == "had enough"


def test_a_delay_begins_with_the_onset():
    """What is found before it has a negative one and no candidate requests."""
    late = named("dead", weight=100.0, onset=60.0)
    run = watch(late, [Patient("early", 3), Patient("later", 900)])
    assert run["found"]["early"]["seconds"] < 0.0
    assert run["found"]["early"]["requests"] == 0
    assert 0 < run["found"]["later"]["requests"] < 900


def test_who_finds_nothing_until_the_end_has_found_none():
    """That is a figure too."""
    run = watch(named("dead", seconds=60.0), [Patient("never", -1)])
    assert run["found"] == {"never": None}

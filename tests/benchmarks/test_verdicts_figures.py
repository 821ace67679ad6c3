"""From runs to figures to the page: what is kept, what is told, and how it is drawn."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.verdicts import page
from benchmarks.verdicts.cases import CASES, Case
from benchmarks.verdicts.figures import figures, interval, percentile, pooled
from benchmarks.verdicts.picture import picture
from benchmarks.verdicts.progress import Progress
from benchmarks.verdicts.store import Store, _Undocumented, code


def run(**found: float | None) -> dict[str, Any]:
    """A run in which each judge found something after so many candidate requests, or nothing."""
    return {"events": 1, "cpu": 2.0, "found": {name: None if n is None else {
        "why": "errors", "seconds": n * 8.0, "requests": n, "conversations": n / 4}
        for name, n in found.items()}}


def four(ours: float | None, theirs: float | None) -> dict[str, Any]:
    return run(coalmine=ours, static=theirs, **{"static-bare": theirs, "kayenta": None})


def test_the_limit_of_errors_is_that_of_the_formula():
    """ln(1/α) / I, as in the table that the goals come from."""
    limits = {name: CASES[name].limit for name in ("dead", "errors", "errors-rare")}
    assert limits == {"dead": pytest.approx(2.0, abs=0.05), "errors": pytest.approx(184, abs=1),
                      "errors-rare": pytest.approx(9500, rel=0.01)}


def test_percentiles_count_runs_without_an_alarm_as_endless():
    """So they cannot make a judge look fast."""
    values = [4.0, 1.0, math.inf, 3.0, 2.0]
    assert [percentile(values, share) for share in (0.5, 0.8, 0.9)] == [3.0, 4.0, None]


def test_the_interval_is_wilsons():
    """Known values, and within 0 and 1 at the ends."""
    assert interval(0, 1000) == pytest.approx((0.0, 0.003827), abs=1e-5)
    assert interval(4, 1256) == pytest.approx((0.00124, 0.00817), abs=1e-4)
    assert interval(10, 10)[1] == pytest.approx(1.0)


def test_a_case_tells_delay_efficiency_and_why():
    """Efficiency is N* to the median, in the unit of N*."""
    told = figures(CASES["errors"], [four(100.0, None), four(200.0, 30.0), four(400.0, 40.0)])
    assert told["runs"] == 3
    assert told["efficiency"] == pytest.approx(184.2 / 200, abs=0.001)
    assert told["judges"]["coalmine"]["requests"] == {"p50": 200.0, "p90": 400.0, "p99": 400.0}
    assert told["judges"]["static"]["alarms"] == 2
    assert told["judges"]["static"]["requests"] == {"p50": 40.0, "p90": None, "p99": None}
    assert told["judges"]["coalmine"]["why"] == {"errors": 3}
    sessions = figures(CASES["score"], [four(480.0, None)])
    assert sessions["efficiency"] == pytest.approx(60 / 120)


def test_an_alarm_before_the_onset_is_a_false_one():
    """It has no part in the delay."""
    early = run(coalmine=0.0)
    early["found"]["coalmine"]["seconds"] = -5.0
    told = figures(CASES["late-ttft"], [early, run(coalmine=80.0)])["judges"]["coalmine"]
    assert (told["alarms"], told["early"], told["requests"]["p50"]) == (2, 1, 80.0)
    none = figures(CASES["late-ttft"], [early])["judges"]["coalmine"]
    assert none["requests"] == {"p50": None, "p90": None, "p99": None}


def test_healthy_cases_are_pooled():
    """One share over all rates."""
    told = [figures(CASES[name], runs) for name, runs in {
        "aa-1": [four(None, 5.0)] * 8, "aa-10": [four(7.0, 5.0), four(None, None)]}.items()]
    whole = pooled(told)
    assert (whole["runs"], whole["judges"]["coalmine"]["alarms"]) == (10, 1)
    assert whole["judges"]["static"]["share"] == 0.9
    assert pooled([]) == {"runs": 0, "judges": {}}


class TestTheStore:
    @pytest.fixture
    def case(self) -> Case:
        return CASES["dead"]

    def test_gives_back_what_it_was_given(self, tmp_path, case):
        """By seed; another case has its own."""
        store = Store(tmp_path, "c0de")
        store.add(case, 7, run(coalmine=3.0))
        assert store.runs(case)[7]["found"]["coalmine"]["requests"] == 3.0
        assert Store(tmp_path, "c0de").runs(case).keys() == {7}
        assert store.runs(CASES["errors"]) == {}

    def test_forgets_what_other_code_or_another_scenario_made(self, tmp_path, case):
        """The name, the seed and the words of a scenario do not matter."""
        Store(tmp_path, "c0de").add(case, 7, run(coalmine=3.0))
        assert Store(tmp_path, "other").runs(case) == {}
        store = Store(tmp_path, "c0de")
        same = replace(case, scenario=replace(case.scenario, about="else", seed=3), goal=9)
        assert store.runs(same).keys() == {7}
        assert store.runs(replace(case, scenario=replace(case.scenario, rate=9.0))) == {}

    def test_passes_over_a_line_that_was_cut_off(self, tmp_path, case):
        """As an interruption leaves it."""
        store = Store(tmp_path, "c0de")
        store.add(case, 1, run(coalmine=3.0))
        with (tmp_path / "dead.jsonl").open("a") as file:
            file.write('{"seed": 2, "dig\n')
        store.add(case, 3, run(coalmine=3.0))
        assert store.runs(case).keys() == {1, 3}


def test_the_digest_of_the_code_knows_no_comments_and_no_docstrings():
    """So a better word costs no hour of simulation."""
    texts = ('"""Old."""\ndef f():\n    """Old."""\n    return 1  # old\n',
             '"""New."""\ndef f():\n    """New."""\n    return 1\n', "def f():\n    return 2\n")
    first, second, third = (ast.dump(_Undocumented().visit(ast.parse(text))) for text in texts)
    assert first == second != third
    assert code() == code()


def test_progress_tells_what_is_left_from_what_was_done():
    """A case of which nothing is known costs the average."""
    progress = Progress(jobs=2)
    progress.expect("a", 10, [60.0, 60.0])
    progress.expect("b", 4, [])
    progress.done("a", 60.0)
    assert progress.line("a") == "verdicts: 3/14, now a 3/10, 6 min left"


def document() -> dict[str, Any]:
    """A result with a case of each kind."""
    runs = {"errors": [four(200.0, 30.0), four(300.0, None)], "aa-10": [four(None, 5.0)] * 3,
            "promotion": [run(promotable=400.0)], "late-ttft": [run(coalmine=900.0)],
            "margin-score": [run(promotable=None)] * 10}
    cases = {name: figures(CASES[name], found) for name, found in runs.items()}
    return {"at": "2026-01-02T03:04:05+00:00", "machine": {"system": "Linux", "python": "3.12.1"},
            "figures": {"cases": cases, "healthy": pooled(cases.values())}}


def test_the_figures_stand_between_the_markers(tmp_path):
    """What is around them stays; a second time changes nothing."""
    (tmp_path / "r.json").write_text(json.dumps(document()))
    path = tmp_path / "verdicts.md"
    path.write_text(f"# Head\n{page.BEGIN}\nold\n{page.END}\ntail\n")
    page.write(tmp_path / "r.json", tmp_path)
    text = path.read_text()
    assert text.startswith(f"# Head\n{page.BEGIN}\n\n")
    assert text.endswith(f"\n{page.END}\ntail\n")
    assert "old" not in text
    assert "| errors 1 → 5 % | 2 | 200 / 300 / 300 | 50 | 184 | 0.92 | ≤ 265 | met | 0 % |" in text
    assert "| 10 | 3 | 0: 0 % (0 % to 56 %) | 3: 100 %" in text
    assert "| healthy release promotable | 1 | 53 / 53 / 53 min | 100 |" in text
    assert "| TTFT × 1.3 | 1 | 900 / 900 / 900 | 0 | 0 % |" in text
    assert "| score − 0.05 | 10 | 0: 0 % (0 % to 28 %) |" in text
    page.write(tmp_path / "r.json", tmp_path)
    assert path.read_text() == text


def test_a_page_without_markers_is_refused():
    """Rather than guessed at."""
    with pytest.raises(ValueError, match="lacks <!-- figures -->"):
        page.between("# Head\n", "figures")


def test_the_picture_is_well_formed_and_names_every_judge(tmp_path):
    """A dot for each median, and words where there is none."""
    (tmp_path / "r.json").write_text(json.dumps(document()))
    (tmp_path / "verdicts.md").write_text(page.BEGIN + page.END)
    page.write(tmp_path / "r.json", tmp_path)
    tree = ElementTree.fromstring((tmp_path / "verdicts.svg").read_text())
    words = [each.text for each in tree.iter() if each.text]
    for called in page.JUDGES.values():
        assert called in words
    assert "none in 3 of 3 runs" in words


def test_the_figures_in_the_docs_are_those_of_the_result():
    """``python -m benchmarks.verdicts.page`` writes them again."""
    result = json.loads(page.RESULT.read_text())
    text = (page.DOCS / "verdicts.md").read_text()
    assert page.between(text, page.render(result)) == text
    assert (page.DOCS / "verdicts.svg").read_text() == picture(result["figures"], page.JUDGES)

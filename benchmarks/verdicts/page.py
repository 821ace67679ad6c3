"""The figures in ``docs/verdicts.md``, between its markers, and the picture beside it.

    python -m benchmarks.verdicts.page

writes both again from ``benchmarks/results/verdicts.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.verdicts.figures import compared
from benchmarks.verdicts.picture import picture

HERE = Path(__file__).parents[1]
RESULT = HERE / "results" / "verdicts.json"
DOCS = HERE.parent / "docs"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

JUDGES = {
    "coalmine": "Coalmine",
    "static": "static rules, from 30 conversations on",
    "static-bare": "static rules, no minimum",
    "kayenta": "Kayenta-style",
}
"""What the judges are called in tables and picture."""
_GAP = "\u202f"


def write(result: Path = RESULT, docs: Path = DOCS) -> None:
    """Write the figures into the page, and the picture."""
    document = json.loads(result.read_text())
    page = docs / "verdicts.md"
    page.write_text(between(page.read_text(), render(document)))
    (docs / "verdicts.svg").write_text(picture(document["figures"], JUDGES))


def between(page: str, figures: str) -> str:
    """Return a page with what is between its markers replaced.

    Raises:
        ValueError: when it has not both of them.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{head}{BEGIN}\n\n{figures}\n{END}{tail}"


def render(document: dict[str, Any]) -> str:
    """Return the tables of a result."""
    cases = document["figures"]["cases"]
    found, late, healthy, promotions, margins = (
        [case for case in cases.values() if case["kind"] == kind]
        for kind in ("regression", "late", "healthy", "promotion", "margin"))
    tables = []
    if found or promotions:
        tables += [_ours(found, promotions), "![Delay until the alarm](verdicts.svg)\n"]
    if found:
        tables += [_others(compared(cases)), _times(compared(cases))]
    if healthy:
        tables.append(_healthy(healthy, document["figures"]["healthy"]))
    if late:
        tables.append(_late(late))
    if margins:
        tables.append(_margins(margins))
    where = document["machine"]
    tables.append(f"Simulated on {document['at'][:10]}, {where['system']}, Python "
                  f"{where['python']}, `python -m benchmarks.verdicts`.\n")
    return "\n".join(tables)


def _ours(found: list[dict[str, Any]], promotions: list[dict[str, Any]]) -> str:
    rows = ["Candidate requests until Coalmine's alarm:\n",
            _row("regression", "runs", "p50 / p90 / p99", "conversations p50", "N*", "efficiency",
                 "goal p50", "", "no alarm"), _row(*["---"] * 9)]
    for case in found:
        ours = case["judges"]["coalmine"]
        unit = "" if case["limit_unit"] == "requests" else " conversations"
        rows.append(_row(
            case["title"], _number(case["runs"]), _spread(ours["requests"], _number),
            _number(ours["conversations"]["p50"]), f"{_number(case['limit'])}{unit}",
            f"{case['efficiency']:.2f}" if "efficiency" in case else "–",
            f"≤ {_number(case['goal'])}", _met(ours["requests"]["p50"], case["goal"]),
            _percent(1 - ours["share"])))
    for case in promotions:
        judge = case["judges"]["promotable"]
        minutes = {name: None if value is None else value / 60
                   for name, value in judge["seconds"].items()}
        rows.append(_row(
            case["title"], _number(case["runs"]), f"{_spread(minutes, _number)} min",
            _number(judge["conversations"]["p50"]), "–", "–", f"≤ {_number(case['goal'])} min",
            _met(minutes["p50"], case["goal"]), _percent(1 - judge["share"])))
    return "\n".join(rows) + "\n"


def _others(found: list[dict[str, Any]]) -> str:
    names = [name for name in JUDGES if name != "coalmine"]
    rows = ["Candidate requests until the others' alarm, p50 / p90 / p99 (runs without one):\n",
            _row("regression", *[JUDGES[name] for name in names]),
            _row(*["---"] * (1 + len(names)))]
    rows += [_row(case["title"], *[_delay(case["judges"][name], "requests", _number)
                                   for name in names]) for case in found]
    return "\n".join(rows) + "\n"


def _times(found: list[dict[str, Any]]) -> str:
    rows = ["The same as time:\n", _row("regression", *JUDGES.values()),
            _row(*["---"] * (1 + len(JUDGES)))]
    rows += [_row(case["title"], *[_delay(case["judges"][name], "seconds", _time)
                                   for name in JUDGES]) for case in found]
    return "\n".join(rows) + "\n"


def _healthy(healthy: list[dict[str, Any]], pooled: dict[str, Any]) -> str:
    rows = [("Healthy releases that were rolled back within 24 h (95 % interval); the others judge "
             "100 of each:\n"),
            _row("requests/s", "days", *JUDGES.values()), _row(*["---"] * (2 + len(JUDGES)))]
    for title, case in [*((case["title"], case) for case in healthy), ("all", pooled)]:
        cells = [_false(case["judges"][name]) for name in JUDGES]
        rows.append(_row(title, _number(case["runs"]), *cells))
    return "\n".join(rows) + "\n"


def _late(late: list[dict[str, Any]]) -> str:
    rows = ["Regressions that begin after six healthy hours, candidate requests since then:\n",
            _row("regression", "runs", "p50 / p90 / p99", "false alarms before", "no alarm"),
            _row(*["---"] * 5)]
    for case in late:
        ours = case["judges"]["coalmine"]
        rows.append(_row(case["title"], _number(case["runs"]), _spread(ours["requests"], _number),
                         _number(ours["early"]), _percent(1 - ours["share"])))
    return "\n".join(rows) + "\n"


def _margins(margins: list[dict[str, Any]]) -> str:
    rows = ["Releases at the very margin that looked promotable within six hours (5 % may):\n",
            _row("candidate", "runs", "promotable (95 % interval)"),
            _row(*["---"] * 3)]
    rows += [_row(case["title"], _number(case["runs"]), _false(case["judges"]["promotable"]))
             for case in margins]
    return "\n".join(rows) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _false(one: dict[str, Any]) -> str:
    return (f"{_number(one['alarms'])}: {_percent(one['share'])} "
            f"({_percent(one['low'])} to {_percent(one['high'])})")


def _met(value: float | None, goal: float) -> str:
    return "met" if value is not None and value <= goal else "**short**"


def _delay(judge: dict[str, Any], unit: str, form: Any) -> str:
    silent = 1 - judge["share"]
    return _spread(judge[unit], form) + (f" ({_percent(silent)})" if silent > 0 else "")


def _spread(values: dict[str, float | None], form: Any) -> str:
    return " / ".join("–" if values[name] is None else form(values[name])
                      for name in ("p50", "p90", "p99"))


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", _GAP) if value >= 10 else f"{value:.3g}"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2g} %" if 0 < percent < 10 else f"{percent:.0f} %"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        if seconds < 100 * size or unit == "h":
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else (
                f"{seconds / size:.0f} {unit}")
    raise AssertionError


if __name__ == "__main__":
    write()

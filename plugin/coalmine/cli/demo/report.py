"""The report: who was served what, how fast it was, and whether every promise held."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coalmine.cli.demo.facts import Facts, Findings, Pair
from coalmine.cli.demo.plan import CANDIDATE, STABLE

SHOWN = 10
"""Wrong turns and errors that are told one by one."""


def show(console: Console, findings: Findings, facts: Facts, *, took: float, set_up: float) -> None:
    """Print the report.

    Args:
        console: where.
        findings: what was judged.
        facts: what was found out.
        took: seconds of the demo, without its set-up.
        set_up: seconds of that.
    """
    console.print()
    console.rule("who was served what", align="left")
    console.print(_served(findings))
    console.print()
    for name, text in _figures(findings, facts):
        console.print(Text.assemble((f"{name:<15}", "dim"), text), soft_wrap=True)
    console.print()
    console.rule("log", align="left")
    for line in facts.history:
        console.print(Text(line), soft_wrap=True)
    console.print()
    console.rule("promises", align="left")
    for promise in findings.promises:
        word, style = ("held", "green") if promise.held else ("BROKEN", "bold red")
        told = Text.assemble((f"{word:<7}", style), f"{promise.name} ({promise.figure})")
        console.print(told, soft_wrap=True)
    for line in (*findings.wrong[:SHOWN], *findings.errors[:SHOWN]):
        console.print(Text(f"        {line}", style="red"), soft_wrap=True)
    broken = [promise.name for promise in findings.promises if not promise.held]
    console.print()
    last = f"{took:.0f} s after {set_up:.0f} s of set-up"
    end = f"every promise held, {last}" if not broken else f"broken: {'; '.join(broken)}, {last}"
    console.print(Text(end, style="bold red" if broken else "bold green"), soft_wrap=True)


def _served(findings: Findings) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("release", "conversations", "on it alone", "turns"):
        table.add_column(column, justify="left" if column == "release" else "right")
    for release, (conversations, turns) in findings.served.items():
        table.add_row(release, str(conversations), str(findings.stayed[release]), str(turns))
    return table


def _figures(findings: Findings, facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield the figures, each with its name."""
    counted = ", ".join(f"{n} by {reason}" for reason, n in sorted(facts.moves.items()))
    yield "moved", (f"{findings.told} conversations from {CANDIDATE} to {STABLE}, each told so "
                    f"(Coalmine counted {counted or 'none'})")
    yield "wrong release", f"{len(findings.wrong)} turns"
    yield "errors", f"{len(findings.errors)} seen by users"
    if facts.dies:
        yield "cut", (f"{findings.cut} streams by the dying engine, after their first byte: "
                      "nobody can rescue those")
        if findings.late:
            yield "late", (f"{findings.late} answers rescued on {STABLE} after their headers had "
                           f"left: those still name {CANDIDATE}")
    since = f"{CANDIDATE}'s engine was killed" if facts.dies else "the first bad answer"
    yield "decision", f"{_millis(facts.bad, facts.flip)} after {since}"
    yield "last worker", f"{_millis(facts.flip, facts.last)} after the decision"
    at = findings.open
    yield "in flight", (f"on {CANDIDATE} at the decision: {at.completed} completed there, "
                        f"{at.rescued} came from {STABLE} instead, {at.cut} cut")
    for what in ("attempts", "failures", "answers"):
        pairs = [_pair(pair) for pair in facts.pairs if pair.what == what]
        if pairs:
            yield what, "; ".join(pairs)
    yield "verdict", facts.verdict or "none"


def _pair(pair: Pair) -> str:
    if pair.engine is None:
        return f"{pair.release}: {pair.coalmine} by Coalmine (not compared: {pair.why})"
    return f"{pair.release}: {pair.coalmine} by Coalmine, {pair.engine} by the engine"


def _millis(start: float | None, end: float | None) -> str:
    if start is None or end is None:
        return "unknown time"
    return f"{(end - start) * 1000:.0f} ms"

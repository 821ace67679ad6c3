"""The API's JSON as words, tables and a panel. Nothing here asks anybody: given JSON, it paints.

A key that a gateway does not send reads as null, so that an older or newer gateway still shows.
Texts are never read as rich's markup: people type reasons, and `[rollback]` is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from coalmine.cli.client import Json
from coalmine.cli.figures import (
    NONE,
    age,
    count,
    measured,
    millis,
    moment,
    number,
    percent,
    share,
    until,
)
from coalmine.cli.policy_notice import notice
from coalmine.cli.words import word
from coalmine.guardrails.durations import in_words

PHASES = {
    "idle": "green",
    "canary": "cyan",
    "baking": "blue",
    "paused": "yellow",
    "rolling_back": "bold red",
    "rolled_back": "red",
}
STATUSES = {"ok": "green", "breach": "bold red", "no_data": "yellow"}
DECISIONS = {"promote": "green", "hold": "", "pause": "yellow", "rollback": "bold red"}

TOO_MANY_UNRECOGNISED = 0.2
"""Share of unrecognised conversations above which the status warns."""

SILENT = 2.0
"""Seconds behind the worker seen last, after which one is taken for silent."""


def status(found: Json, now: float) -> RenderableType:
    """Return the picture for an answer: one service at length, several as a list.

    Args:
        found: a service, or ``{"services": […]}``.
        now: unix time, for ages.
    """
    services = found.get("services", [found])
    if not services:
        shown = nothing(found)
    else:
        shown = one(services[0], now) if len(services) == 1 else several(services, now)
    banner = notice(_part(found, "policy"), now)
    return Group(banner, "", shown) if banner is not None else shown


def nothing(found: Json) -> RenderableType:
    """Return what there is to see without services: each deployment's figures, when observing."""
    wrong = word(_part(found, "policy"), "status")
    if wrong == "error":
        return Text("no services: none is known without the policy")
    file = _part(found, "policy").get("file")
    why = ("until the restart" if wrong == "restart_needed"
           else f"there is no policy file{f' {file}' if file else ''}, so")
    said = Text(f"no services: {why} Coalmine observes and routes nothing")
    observed = found.get("deployments")
    return Group(said, "", deployments(observed)) if observed else said


def several(services: list[Json], now: float) -> RenderableType:
    """Return a line for each service."""
    table = table_of("service", "phase", "for", "weight", "step", "stable", "candidate", "verdict")
    for service in services:
        decision = word(_part(service, "verdict"), "decision")
        table.add_row(
            Text(word(service, "service"), style="bold"),
            _phase(service),
            age(service.get("since"), now),
            percent(service.get("weight")),
            _step(service),
            word(service, "stable"),
            word(service, "candidate"),
            Text(decision, style=DECISIONS.get(decision, "")),
        )
    return Group(table, *(line for service in services for line in _warnings(service)))


def one(service: Json, now: float) -> RenderableType:
    """Return a service at length."""
    # The worst first: a terminal that is too small cuts off below.
    parts: list[RenderableType] = [_head(service, now), *_warnings(service), _arms(service)]
    guardrails = _part(service, "verdict").get("guardrails")
    if guardrails:
        parts += ["", _guardrails(guardrails)]
    if service.get("workers"):
        parts += ["", _workers(service)]
    return Group(*parts)


class Bar:
    """The weight as a bar that also reads without colour and without Unicode."""

    def __init__(self, weight: float, width: int = 40) -> None:
        self._weight, self._width = weight, width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, empty = ("#", ".") if options.ascii_only else ("█", "░")
        width = max(1, min(self._width, options.max_width - 8))
        part = max(0.0, min(1.0, self._weight / 100))
        cells = round(part * width)
        if 0 < part < 1:  # 0.1 % is not nothing, and 98 % is not all
            cells = max(1, min(width - 1, cells))
        yield Text.assemble(
            (full * cells, "cyan"), (empty * (width - cells), "dim"), f" {percent(self._weight)}"
        )


def deployments(found: list[Json]) -> Table:
    """Return each deployment's counters, of all workers of the gateway since they began."""
    table = table_of("service", "deployment", "attempts", "failures", "TTFT, ms", "answer, ms")
    for one in found:
        table.add_row(
            word(one, "service"), word(one, "deployment"), count(one.get("attempts")),
            share(one.get("failures"), one.get("attempts")), millis(one.get("ttft")),
            millis(one.get("request")),
        )
    return table


def _part(found: Json, key: str) -> Json:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def table_of(*columns: str) -> Table:
    """Return an empty table in our style."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _phase(service: Json) -> Text:
    phase = word(service, "phase")
    return Text(phase, style=PHASES.get(phase, ""))


def _step(service: Json) -> str:
    if service.get("step") is None:
        return NONE
    return f"{word(service, 'step')} of {word(service, 'steps')}"


def _head(service: Json, now: float) -> RenderableType:
    verdict = _part(service, "verdict")
    decision = word(verdict, "decision")
    where = Text.assemble(_phase(service), f" for {age(service.get('since'), now)}")
    if service.get("step") is not None:
        where.append(f", step {_step(service)}")
    if service.get("waiting"):
        where.append(f", waiting for {word(service, 'waiting')}", style="bold yellow")
    lines: list[RenderableType] = [where]
    weight = number(service.get("weight"))
    if weight is not None and service.get("candidate"):
        lines.append(Bar(weight))
    facts = [f"stable {word(service, 'stable')}"]
    facts += [
        f"{key} {word(service, key)}" for key in ("candidate", "rollout", "epoch")
        if service.get(key) is not None
    ]
    lines.append(Text(" · ".join(facts)))
    if service.get("grace_until"):
        lines.append(Text(
            f"grace until {until(service['grace_until'], now)}: ids that are first seen now count "
            "as old conversations, and stay on stable", style="yellow",
        ))
    if service.get("reason"):
        lines.append(Text(f"reason: {word(service, 'reason')}"))
    if verdict:
        words = Text.assemble("verdict: ", (decision, DECISIONS.get(decision, "")))
        lines.append(words.append(f": {word(verdict, 'reason')}"))
    title = Text(word(service, "service"), style="bold")
    border = PHASES.get(word(service, "phase"), "")
    return Panel(Group(*lines), title=title, title_align="left", border_style=border)


ARM_ROWS: tuple[tuple[str, Any], ...] = (
    ("release, slot", lambda arm: f"{word(arm, 'release')}, {word(arm, 'slot')}"),
    ("conversations", lambda arm: count(arm.get("conversations"))),
    ("attempts", lambda arm: count(arm.get("attempts"))),
    ("failures", lambda arm: share(arm.get("failures"), arm.get("attempts"))),
    ("in flight", lambda arm: count(arm.get("in_flight"))),
    ("TTFT p50/p95/p99, ms", lambda arm: " / ".join(
        millis(arm.get(key)) for key in ("ttft_p50", "ttft_p95", "ttft_p99")
    )),
)
"""A row of the arms' table: its name, and an arm's JSON → what stands there."""


def _arms(service: Json) -> Table:
    arms = _part(service, "arms")
    shown = [name for name in ("stable", "candidate") if _part(arms, name)]
    table = table_of("", *shown)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cell in ARM_ROWS:
        table.add_row(name, *(cell(arms[arm]) for arm in shown))
    return table


def _guardrails(guardrails: list[Json]) -> Table:
    table = table_of("guardrail", "metric", "status", "candidate", "limit", "against")
    for found in guardrails:
        state = word(found, "status")
        table.add_row(
            word(found, "name"),
            word(found, "metric"),
            Text(state, style=STATUSES.get(state, "")),
            _figure(found, "candidate"),
            _limit(found),
            _missing(found) if state == "no_data" else _against(found),
        )
    return table


def _figure(found: Json, name: str) -> str:
    """Return a guardrail's figure: ``3 %``, or ``burns 15.6 ×`` of an error budget."""
    burns = number(found.get(name)) if found.get("against") == "budget" else None
    if burns is not None:
        return f"burns {burns:.3g} ×"
    return measured(found.get("metric"), found.get(name))


def _limit(found: Json) -> str:
    """Return what a guardrail must not pass: a limit, or ``evidence 0.8 of 1 000``."""
    wealth, bar = number(found.get("evidence")), number(found.get("bar"))
    if wealth is None or bar is None:
        return _figure(found, "limit")
    amount = count(wealth) if 10 <= wealth < 1e9 else f"{wealth:.2g}"
    return f"evidence {amount} of {count(bar)}"


def _against(found: Json) -> str:
    """Return what the limit was made of: ``stable 0.3 %``, or the policy's own figure.

    ``stable 0 %, as 1 failure in 13`` where stable had less than one failure's worth.
    """
    against = word(found, "against")
    own = {"limit": "the policy", "budget": "the error budget"}.get(against)
    if own or found.get("stable") is None:
        return own or against
    share = f"{against} {measured(found.get('metric'), found.get('stable'))}"
    few = number(found.get("one_in"))
    return f"{share}, as 1 failure in {few:g}" if few is not None else share


def _missing(found: Json) -> str:
    """Return what a guardrail lacks: ``12 of 30 conversations``."""
    said = word(found, "sentence").removeprefix(f"{word(found, 'name')}: ")
    return said.replace(" candidate conversations", " conversations")


def _workers(service: Json) -> Table:
    table = table_of("worker", "gateway", "epoch", "", "seen")
    workers = service["workers"]
    moments = [at.timestamp() for worker in workers if (at := moment(worker.get("seen")))]
    # Against the newest of them, not our clock: a laptop's may be wrong, theirs agree.
    newest = max(moments, default=0.0)
    for worker in workers:
        at = moment(worker.get("seen"))
        ago = newest - at.timestamp() if at else None
        behind = (number(worker.get("epoch")) or 0) < (number(service.get("epoch")) or 0)
        seen = Text(NONE if ago is None else "now")
        if ago is not None and ago > SILENT:
            seen = Text(f"silent for {in_words(int(ago))} (gone?)", style="bold yellow")
        table.add_row(
            word(worker, "id"),
            word(worker, "gateway"),
            word(worker, "epoch"),
            Text("behind" if behind else "", style="bold yellow"),
            seen,
        )
    return table


def _warnings(service: Json) -> Iterator[Text]:
    unknown = number(service.get("unrecognised"))
    if unknown is not None and unknown > TOO_MANY_UNRECOGNISED:
        yield Text(
            f"warning: {unknown * 100:.0f} % of {word(service, 'service')}'s conversations of the "
            "last hour could not be recognised: they stay on stable and are no evidence; let the "
            "clients send a conversation id in a header",
            style="yellow",
        )

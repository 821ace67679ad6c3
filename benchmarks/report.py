"""``docs/performance.md`` from the benchmarks' results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """# Performance

Every figure was measured by the benchmark that is named with it (`make bench`), on the machine that
is named below it. Medians and spread, also where they disappoint.

"""


def _met(value: float, goal: float) -> str:
    return "met" if value <= goal else "**short**"


def _row(what: str, figure: str, goal: str, verdict: str) -> str:
    return f"| {what} | {figure} | {goal} | {verdict} |"


def _hooks(figures: dict[str, Any]) -> list[str]:
    known, new = figures["known_conversation_us"], figures["new_conversation_us"]
    return [
        _row("our own work per request, known conversation, 7-chunk stream (CPU of the loop's "
             "thread)", f"mean {known['mean']:.0f} µs, p90 of blocks {known['p90']:.0f} µs",
             "≤ 50 µs mean", _met(known["mean"], 50)),
        _row("the same, new conversation (wall, with one look at SQLite)",
             f"p50 {new['p50']:.0f} µs, p90 {new['p90']:.0f} µs", "–", ""),
    ]


def _cost(figures: dict[str, Any]) -> list[str]:
    rows = []
    for kind in ("plain", "streamed"):
        one = figures[kind]
        rows.append(_row(
            f"CPU per request with to without the plugin, {kind}",
            f"{one['ratio']:.3f} (95 %: {one['ratio_low']:.3f}–{one['ratio_high']:.3f}); "
            f"{one['with_ms']['p50']:.2f} to {one['without_ms']['p50']:.2f} ms",
            "≤ 1.01", _met(one["ratio_high"], 1.01)))
    return rows


LOADS = {"idle": "idle", "loaded": "70 % load", "full": "full load"}
GOALS = {"sqlite_idle_ms": 60.0, "redis_idle_ms": 10.0, "redis_loaded_ms": 50.0}


def _flip(figures: dict[str, Any]) -> list[str]:
    rows = []
    for name, one in figures.items():
        if not name.endswith("_ms"):
            continue
        state, how, _ = name.split("_")
        goal = GOALS.get(name)
        rate = figures.get(f"{state}_{how}_requests_per_second")
        load = f" ({rate:g} requests/s)" if rate else ""
        rows.append(_row(
            f"flip: command → last of {figures['workers']} workers, {state}, {LOADS[how]}{load}",
            f"p50 {one['p50']:.1f} ms, p90 {one['p90']:.1f} ms, p99 {one['p99']:.1f} ms",
            f"p99 ≤ {goal:g} ms" if goal else "–", _met(one["p99"], goal) if goal else ""))
    return rows


def _decision(figures: dict[str, Any]) -> list[str]:
    one = figures["last_worker_ms"]
    return [_row(
        f"deciding failure → weight 0 at the last of {figures['workers']} workers",
        f"p50 {one['p50']:.0f} ms, p90 {one['p90']:.0f} ms, max {one['max']:.0f} ms",
        "≤ 100 ms", _met(one["p90"], 100))]


def _state(figures: dict[str, Any]) -> list[str]:
    rows = []
    for store, one in figures.items():
        calm = one["claims_at_100_per_second_and_worker"]
        rows.append(_row(
            f"a new conversation's claim, {store}, {calm['workers']} processes, 100/s each",
            f"p50 {calm['p50']:.2f} ms, p99 {calm['p99']:.2f} ms", "–", ""))
        most = one["claims_as_fast_as_possible"]
        rows.append(_row(
            f"claims a second, {store}, {most['workers']} processes",
            f"{most['per_second']}, p99 {most['p99']:.2f} ms", "–", ""))
        for pins, each in one["bytes_per_pin"].items():
            whole = int(pins) * each / 1e6
            goal = 200.0 if store == "redis" and int(pins) == 1_000_000 else None
            rows.append(_row(
                f"{int(pins):,} pins, {store}", f"{whole:.0f} MB ({each:g} bytes each)",
                f"≤ {goal:g} MB" if goal else "–", _met(whole, goal) if goal else ""))
        sizes = one["megabytes_by_round"]
        rows.append(_row(
            f"size while new pins come and old ones end, {store}",
            " → ".join(f"{size:g}" for size in sizes) + " MB", "no growth",
            _met(sizes[-1], 1.1 * max(sizes[1:-1]))))
    return rows


def _hosts(figures: dict[str, Any]) -> list[str]:
    proved, apart = figures["proved_s"], figures["spread_ms"]
    errors = f"{figures['errors']} of {figures['turns']} turns were errors"
    return [
        _row(f"`rollback.yml` to the end of its proof, {figures['gateways']} proxies on two hosts, "
             f"{figures['rounds']} times under conversations ({errors})",
             f"p50 {proved['p50']:.2f} s, p90 {proved['p90']:.2f} s, max {proved['max']:.2f} s",
             "≤ 3 s", _met(proved["max"], 3.0)),
        _row("the same, from the first proxy that applied it to the last",
             f"p50 {apart['p50']:.0f} ms, p90 {apart['p90']:.0f} ms, max {apart['max']:.0f} ms",
             "≤ 100 ms", _met(apart["max"], 100.0)),
        _row("the same, until the playbook has ended", f"p50 {figures['whole_s']['p50']:.1f} s",
             "–", ""),
        _row("four bare hosts to all of it (`site.yml`; packages and wheels are at hand)",
             f"{figures['site_s']:.0f} s; again {figures['site_again_s']:.0f} s", "–", ""),
        _row("`stage.yml` to a warm slot on two hosts, simulated engines",
             f"{figures['stage_s']:.0f} s", "–", ""),
    ]


def _scenarios(figures: dict[str, Any]) -> list[str]:
    goals = {"default_s": 300.0}
    rows = []
    for name, seconds in figures.items():
        goal = goals.get(name)
        rows.append(_row(
            f"scenario `{name.removesuffix('_s')}`, from bare hosts to its end (packages and "
            "wheels are at hand)", f"{seconds:.0f} s", f"≤ {goal:.0f} s" if goal else "–",
            _met(seconds, goal) if goal else ""))
    return rows


def _judging(figures: dict[str, Any]) -> list[str]:
    replayed, window = figures["replayed_us"], figures["window_us"]
    minute = 60e6 / replayed["p50"]
    return [
        _row(f"events replayed a minute, under the default guardrails ({replayed['n']} times "
             f"{figures['events']:,})", f"{minute / 1e6:.2f} million (p50 {replayed['p50']:.0f} µs "
             f"an event, max {replayed['max']:.0f})", "≥ 1 million",
             _met(1e6, minute)),
        _row("an attempt into a window of five minutes", f"p50 {window['p50']:.1f} µs, max "
             f"{window['max']:.1f} µs", "≤ 5 µs", _met(window["p50"], 5.0)),
        _row("an event simulated", f"p50 {figures['simulated_us']['p50']:.1f} µs", "–", ""),
    ]


PARTS = {"hooks": _hooks, "cost": _cost, "flip": _flip, "decision": _decision,
         "judging": _judging, "state": _state, "hosts": _hosts,
         "scenarios": _scenarios}


def render(results: Path) -> str:
    """Return the page from the results in a folder."""
    lines = ["| what | measured | goal | |", "| --- | --- | --- | --- |"]
    machines: dict[str, list[str]] = {}
    for name, part in PARTS.items():
        path = results / f"{name}.json"
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        lines += part(document["figures"])
        where = document["machine"]
        words = (f"{where['cores']} cores, {where['memory_gib']} GiB, {where['system']}, "
                 f"Python {where['python']}, LiteLLM {where['versions'].get('litellm')}")
        machines.setdefault(words, []).append(f"{name} ({document['at'][:10]})")
    text = HEAD + "\n".join(lines) + "\n"
    for words, names in machines.items():
        text += f"\nMeasured on {words}: {', '.join(names)}.\n"
    notes = results.parent / "notes.md"
    if notes.exists():
        text += "\n" + notes.read_text()
    return text

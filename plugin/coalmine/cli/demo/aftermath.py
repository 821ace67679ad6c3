"""What Coalmine itself says afterwards: its log and its counters, as facts for the judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from coalmine.cli.client import Json
from coalmine.cli.demo.engines import Count
from coalmine.cli.demo.facts import Pair
from coalmine.cli.demo.plan import SERVICE
from coalmine.cli.demo.proxy import Proxy
from coalmine.cli.figures import moment, percent
from coalmine.cli.log import newest_last
from coalmine.cli.text import one_line

OUTCOMES: dict[str, tuple[str, ...] | None] = {
    "attempts": None,
    "failures": ("error", "timeout", "incomplete"),
    "answers": ("ok",),
}
"""Which outcomes of Coalmine's are what an engine counted; None for all."""


class Metrics:
    """A gateway's counters at one moment.

    Args:
        text: the exposition text of /coalmine/metrics.
    """

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def by(self, label: str, metric: str, **labels: Any) -> Counter[str]:
        """Return a counter's values by one of its labels, where others have given values."""
        found: Counter[str] = Counter()
        for sample in self._samples:
            right = all(sample.labels.get(name) in values for name, values in labels.items())
            if sample.name == metric and sample.labels.get("service") == SERVICE and right:
                found[sample.labels[label]] += int(sample.value)
        return found


def read_metrics(proxy: Proxy) -> Metrics:
    """Ask the proxy for its counters."""
    answer = httpx.get(
        f"{proxy.url}/coalmine/metrics", headers={"authorization": f"Bearer {proxy.key}"},
        timeout=10, trust_env=False,
    )
    answer.raise_for_status()
    return Metrics(answer.text)


def compared(metrics: Metrics, counts: Iterable[Count]) -> tuple[Pair, ...]:
    """Put what Coalmine counted beside what the engines counted."""
    pairs = []
    for count in counts:
        outcomes = OUTCOMES[count.what]
        wanted = {} if outcomes is None else {"outcome": outcomes}
        found = metrics.by("release", "coalmine_attempts_total", **wanted)
        pairs.append(Pair(count.release, count.what, found[count.release], count.number,
                          count.why))
    return tuple(pairs)


def rollback_of(entries: list[Json]) -> Json | None:
    """Return the log's line of the first rollback."""
    return next((e for e in newest_last(entries) if e.get("action") == "rollback"), None)


def seconds_of(entry: Json) -> float | None:
    """Return the moment of a line of the log as unix time."""
    at = moment(entry.get("at"))
    return at.timestamp() if at is not None else None


def log_lines(entries: list[Json]) -> tuple[str, ...]:
    """Return the log in lines, the newest last."""
    lines = []
    for entry in newest_last(entries):
        at = moment(entry.get("at"))
        after = entry.get("after") or {}
        where = str(after.get("phase", ""))
        if after.get("weight"):
            where += f" {percent(after['weight'])}"
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}" if at is not None else "?"
        who, action = one_line(entry.get("who")), one_line(entry.get("action"))
        lines.append(f"{clock}  {who:<22} {action:<9} {where:<13} {one_line(entry.get('reason'))}")
    return tuple(lines)

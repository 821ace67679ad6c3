"""The metrics' text for Prometheus, from a gateway's totals and gauges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import CollectorRegistry

from coalmine.gateway.totals import BOUNDS, HELP, HISTOGRAMS, LABELS, SEPARATOR, parts_of

Labels = tuple[tuple[str, str], ...]


class _Families:
    """What a registry collects from: families that are made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def render(totals: Mapping[str, float], gauges: Mapping[str, Mapping[Labels, float]]) -> str:
    """Return the exposition text.

    Args:
        totals: the gateway's totals by name of the series (see :mod:`coalmine.gateway.totals`).
        gauges: for each gauge, its values by labels ((name, value), …).
    """
    counters = {name: CounterMetricFamily(name.removesuffix("_total"), HELP[name], labels=labels)
                for name, labels in LABELS.items()}
    parts: dict[str, dict[tuple[str, ...], dict[str, float]]] = {name: {} for name in HISTOGRAMS}
    for full, value in sorted(totals.items()):
        name, *values = full.split(SEPARATOR)
        if name in counters and len(values) == len(LABELS[name]):
            counters[name].add_metric(values, value)
        elif (found := parts_of(full)) is not None:
            _, labels, part = found
            parts[name].setdefault(labels, {})[part] = value
    histograms = [_histogram(name, series) for name, series in parts.items()]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families([
        *counters.values(), *histograms, *(_gauge(name, found) for name, found in gauges.items()),
    ]))
    return generate_latest(registry).decode()


def _histogram(name: str, found: Mapping[tuple[str, ...], Mapping[str, float]]) -> Metric:
    family = HistogramMetricFamily(name, HELP[name], labels=HISTOGRAMS[name])
    bounds = [*(f"{bound:g}" for bound in BOUNDS[name]), "+Inf"]
    for values, series in found.items():
        running, buckets = 0.0, []
        for bound in bounds:
            running += series.get("bucket" + SEPARATOR + bound, 0.0)
            buckets.append((bound, running))
        family.add_metric(list(values), buckets, sum_value=series.get("sum", 0.0))
    return family


def _gauge(name: str, found: Mapping[Labels, float]) -> Metric:
    names = next(iter(found), ())
    family = GaugeMetricFamily(name, GAUGES.get(name, name), labels=[label for label, _ in names])
    for labels, value in found.items():
        family.add_metric([value for _, value in labels], value)
    return family


GAUGES: dict[str, str] = {
    "coalmine_in_flight": "Requests that run now, by release.",
    "coalmine_weight_percent": "Percent of new conversations that the candidate gets.",
    "coalmine_epoch": "The service's version number.",
    "coalmine_phase": "1 for the phase in which the service stands.",
    "coalmine_guardrail_evidence": "Evidence against the candidate.",
    "coalmine_workers": "Live workers of this gateway.",
    "coalmine_controller": "1 for whether some worker judges the rollouts.",
}

"""The metrics' text, read by Prometheus's own parser."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from coalmine.control.document import DeploymentDocument
from coalmine.gateway.exposition import render
from coalmine.gateway.totals import by_deployment, series, totals_of
from coalmine.guardrails import Attempt, Outcome
from coalmine.routing import Arm


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of a text by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text) for sample in family.samples
    }


def attempt(outcome: Outcome, seconds: float) -> Attempt:
    """An attempt on the candidate."""
    return Attempt(at=1.0, service="chat", release="v2", arm=Arm.CANDIDATE, deployment="green-1",
                   outcome=outcome, ttft=0.02, seconds=seconds)


def test_counters_keep_all_their_digits() -> None:
    """A million and one is not a million."""
    name = series("coalmine_moves_total", "chat", "rescue")
    found = samples(render({name: 1_000_001.0}, {}))
    labels = frozenset({("service", "chat"), ("reason", "rescue")})
    assert found["coalmine_moves_total", labels] == 1_000_001


def test_a_histogram_is_cumulative_and_ends_with_its_count() -> None:
    """Two attempts in two buckets; failures have no times."""
    totals = totals_of([attempt(Outcome.OK, 0.07), attempt(Outcome.OK, 3.0),
                        attempt(Outcome.ERROR, 9.0)])
    found = samples(render(totals, {}))
    base = {("service", "chat"), ("release", "v2"), ("arm", "candidate"),
            ("deployment", "green-1")}
    name = "coalmine_request_seconds"
    assert found[f"{name}_bucket", frozenset({*base, ("le", "0.1")})] == 1
    assert found[f"{name}_bucket", frozenset({*base, ("le", "+Inf")})] == 2
    assert found[f"{name}_count", frozenset(base)] == 2
    assert abs(found[f"{name}_sum", frozenset(base)] - 3.07) < 1e-9


def test_names_with_quotes_and_line_ends_are_escaped() -> None:
    """What a client called its model cannot break the text."""
    odd = 'a"b\\c\nd'
    found = samples(render({series("coalmine_moves_total", odd, "rescue"): 2.0}, {}))
    assert found["coalmine_moves_total",
                 frozenset({("service", odd), ("reason", "rescue")})] == 2


def test_gauges_show_how_things_stand() -> None:
    """With and without labels."""
    found = samples(render({}, {"coalmine_workers": {(): 4.0},
                                "coalmine_epoch": {(("service", "chat"),): 7.0}}))
    assert found["coalmine_workers", frozenset()] == 4
    assert found["coalmine_epoch", frozenset({("service", "chat")})] == 7


def test_latencies_are_told_apart_by_deployment() -> None:
    """Without a policy that is all that tells two engines of a service apart."""
    totals = totals_of([attempt(Outcome.OK, 0.07),
                        replace(attempt(Outcome.OK, 3.0), deployment="green-2")])
    found = samples(render(totals, {}))
    counts = {dict(labels)["deployment"]: value for (name, labels), value in found.items()
              if name == "coalmine_request_seconds_count"}
    assert counts == {"green-1": 1, "green-2": 1}


def test_what_an_older_version_counted_with_other_labels_is_left_out() -> None:
    """The totals outlive an upgrade; half a series would be worse than none."""
    old = {series("coalmine_request_seconds", "chat", "v2", "candidate", *part): 1.0
           for part in (("sum",), ("count",), ("bucket", "0.1"))}
    totals = {**old, **totals_of([attempt(Outcome.OK, 0.07)])}
    assert render(totals, {}) == render(totals_of([attempt(Outcome.OK, 0.07)]), {})
    assert by_deployment(old) == []


def test_a_deployments_figures_are_its_counts_and_means() -> None:
    """What the client caused is in neither; engines without good answers have no times."""
    totals = totals_of([
        attempt(Outcome.OK, 1.0), attempt(Outcome.OK, 3.0), attempt(Outcome.TIMEOUT, 60.0),
        attempt(Outcome.DISCONNECT, 0.1),
        replace(attempt(Outcome.ERROR, 0.1), deployment="blue-1", release="", arm=None),
    ])
    assert by_deployment(totals) == [
        {"service": "chat", "deployment": "blue-1", "release": "", "arm": "", "attempts": 1,
         "failures": 1, "ttft": None, "request": None},
        {"service": "chat", "deployment": "green-1", "release": "v2", "arm": "candidate",
         "attempts": 3, "failures": 1, "ttft": 0.02, "request": 2.0},
    ]
    for document in by_deployment(totals):
        DeploymentDocument.model_validate(document)

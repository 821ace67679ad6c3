"""The role `monitoring`: what it writes, and that its alerts fit Coalmine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from coalmine.control.alerts import firing
from coalmine.gateway.exposition import GAUGES
from coalmine.gateway.totals import HISTOGRAMS, LABELS
from coalmine.guardrails import Outcome
from coalmine.routing import Phase

ROLE = Path(__file__).parents[2] / "roles" / "monitoring"
GATEWAYS = [{"name": "gw1", "address": "10.0.0.5", "port": 4001},
            {"name": "gw2", "address": "fd00::5", "port": 4001}]
ENGINES = [{"address": "10.0.0.11", "port": 8002, "service": "chat", "slot": "green"}]
RECEIVER = {"name": "on call", "webhook_configs": [{"url": "https://pager.example/hook"}]}


def _render(name: str, **given: Any) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True,
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = environment.filters["tojson"]
    values = {
        "ansible_managed": "Ansible managed", "monitoring_gateways": GATEWAYS,
        "monitoring_engines": ENGINES, "monitoring_load_balancers": [],
        "monitoring_prometheus_port": 9090, "monitoring_alertmanager_port": 9093,
        "monitoring_receivers": [], "monitoring_retention": "15d", "monitoring_authority": None,
        "__monitoring_here": "127.0.0.1", "__monitoring_listen": "127.0.0.1",
    }
    return yaml.safe_load(environment.get_template(name).render({**values, **given}))


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROLE / "files" / "coalmine.rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def _targets(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {job["job_name"]: job["static_configs"] for job in document["scrape_configs"]}


def test_prometheus_reads_what_it_is_given() -> None:
    document = _render("prometheus.yml.j2", monitoring_load_balancers=[
        {"name": "lb1", "address": "10.0.0.7", "port": 8405}])
    found = _targets(document)
    assert found["coalmine-gateways"] == [
        {"targets": ["10.0.0.5:4001"], "labels": {"gateway": "gw1"}},
        {"targets": ["[fd00::5]:4001"], "labels": {"gateway": "gw2"}}]
    assert found["coalmine-engines"] == [
        {"targets": ["10.0.0.11:8002"], "labels": {"service": "chat", "slot": "green"}}]
    assert found["coalmine-load-balancers"] == [
        {"targets": ["10.0.0.7:8405"], "labels": {"load_balancer": "lb1"}}]
    gateways = document["scrape_configs"][0]
    assert gateways["metrics_path"] == "/coalmine/metrics"
    assert gateways["authorization"] == {
        "credentials_file": "/etc/prometheus/coalmine-metrics.token"}


def test_what_has_a_certificate_is_read_by_it() -> None:
    document = _render(
        "prometheus.yml.j2", monitoring_authority="ca.pem",
        monitoring_gateways=[{**GATEWAYS[0], "tls_name": "gw1"}, GATEWAYS[1]],
        monitoring_engines=[{**ENGINES[0], "tls_name": "gpu1"}],
        monitoring_load_balancers=[{"name": "lb1", "address": "lb1", "port": 1, "tls_name": "lb1"}])
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    assert [one["labels"].get("__scheme__") for one in
            jobs["coalmine-gateways"]["static_configs"]] == ["https", None]
    for name in ("coalmine-gateways", "coalmine-engines", "coalmine-load-balancers"):
        assert jobs[name]["tls_config"] == {"ca_file": "/etc/prometheus/coalmine-ca.pem"}
        assert jobs[name]["static_configs"][0]["labels"]["__scheme__"] == "https"
    assert "tls_config" not in jobs["prometheus"]


@pytest.mark.parametrize(("webhook", "verified"), [("https://lb:4000", True),
                                                   ("http://lb:4000", False)])
def test_coalmine_is_told_by_its_certificate(webhook: str, verified: bool) -> None:
    document = _render("alertmanager.yml.j2", monitoring_authority="ca.pem",
                       monitoring_webhook=webhook)
    hook = document["receivers"][1]["webhook_configs"][0]
    assert ("tls_config" in hook["http_config"]) == verified


def test_nothing_to_read_is_no_error() -> None:
    found = _targets(_render("prometheus.yml.j2", monitoring_gateways=[], monitoring_engines=[]))
    assert found["coalmine-gateways"] == []
    assert found["coalmine-engines"] == []


def test_coalmine_is_told_of_nothing_but_what_it_is_to_do() -> None:
    document = _render("alertmanager.yml.j2", monitoring_receivers=[RECEIVER],
                       monitoring_webhook="http://lb:4000/coalmine/alertmanager")
    routes = document["route"]["routes"]
    assert document["route"]["receiver"] == "nobody"
    assert [route["matchers"] for route in routes if route["receiver"] == "coalmine"] == [
        ['coalmine="rollback"'], ['coalmine="pause"']]
    assert routes[0]["group_wait"] == "0s"
    assert all(route["continue"] for route in routes), "people are told of these too"
    assert [route for route in routes if route["receiver"] == "on call"] == [
        {"receiver": "on call", "continue": True}]
    receivers = {receiver["name"]: receiver for receiver in document["receivers"]}
    assert receivers["on call"] == RECEIVER
    hook = receivers["coalmine"]["webhook_configs"][0]
    assert hook["url"] == "http://lb:4000/coalmine/alertmanager"
    assert hook["http_config"]["authorization"] == {
        "credentials_file": "/etc/prometheus/coalmine-alertmanager.token"}


@pytest.mark.parametrize("receivers", [[], [RECEIVER]])
def test_without_a_webhook_nobody_is_coalmine(receivers: list[Any]) -> None:
    document = _render("alertmanager.yml.j2", monitoring_receivers=receivers)
    assert len(document["route"]["routes"]) == len(receivers)
    assert "coalmine" not in [receiver["name"] for receiver in document["receivers"]]


def test_alerts_that_act_name_a_running_rollouts_service() -> None:
    acting = [rule for rule in _rules() if "coalmine" in rule["labels"]]
    assert {rule["labels"]["coalmine"] for rule in acting} == {"pause", "rollback"}
    for rule in acting:
        assert "by (service" in rule["expr"], rule["alert"]
        # Coalmine takes a rollback without a rollout for one to the release before stable.
        phases = re.findall(r"on \(service\) max by \(service\) \(coalmine_phase\{phase=~\"(.*?)\"",
                            rule["expr"])
        assert phases, rule["alert"]
        assert set(phases[0].split("|")) <= {"canary", "paused", "baking"}, rule["alert"]
    taken = firing({"alerts": [{"status": "firing", "labels": {
        **rule["labels"], "alertname": rule["alert"], "service": "chat"}} for rule in acting]})
    assert [alert.action for alert in taken] == [rule["labels"]["coalmine"] for rule in acting]


def test_alerts_ask_for_metrics_that_there_are() -> None:
    known = {*LABELS, *GAUGES, *HISTOGRAMS}
    for rule in _rules():
        names = set(re.findall(r"\bcoalmine_\w+", rule["expr"]))
        assert names <= known, rule["alert"]
        for phases in re.findall(r'phase=~?"([^"]*)"', rule["expr"]):
            assert set(phases.split("|")) <= {phase.value for phase in Phase}, rule["alert"]
        for outcomes in re.findall(r'outcome=~?"([^"]*)"', rule["expr"]):
            assert set(outcomes.split("|")) <= {outcome.value for outcome in Outcome}, rule["alert"]


def test_every_alert_says_what_is_wrong_and_has_a_test() -> None:
    tests = yaml.safe_load((ROLE / "files" / "coalmine.rules.test.yml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"]
              if case["exp_alerts"]}
    assert tested == {rule["alert"] for rule in _rules()}
    readme = (ROLE / "README.md").read_text()
    for rule in _rules():
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert f"`{rule['alert']}`" in readme

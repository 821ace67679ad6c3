"""The HTTP API and the command line, on a real proxy: who may do what, and what is refused."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from .client import Answer
from .conftest import PLUGIN, Starter
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, Setup, eventually, free_port
from .worlds import Svc, world

TWO = {"steps": [{"weight": 50, "for": "10h"}, {"weight": 100, "for": "10h"}], "bake": "10h"}
SERVICES = [
    Svc(name, rollout=TWO)
    for name in ("idle", "start", "order", "epoch", "twice", "alarm", "cli", "paused", "told")
]
SERVICES += [
    Svc("empty", green=0),
    Svc(
        "approve",
        rollout={
            "steps": [{"weight": 50, "approve": True}, {"weight": 100, "for": "10h"}],
            "bake": "10h",
        },
        more={
            "guardrails": [
                {"name": "errors", "metric": "error_rate", "max": 0.5, "min_conversations": 3}
            ]
        },
    ),
]
OPERATORS = {
    "reader": ["read"],
    "oncall": ["read", "pause", "rollback"],
    "shipper": ["read", "start", "promote", "resume", "register"],
}
VERBS = ("start", "pause", "resume", "promote", "rollback")
FRESH = itertools.count()


def token(name: str) -> str:
    """An operator's token."""
    return f"token-of-{name}-{'x' * 20}"


def setting(engines: Engines) -> Setup:
    """A proxy with operators and tokens."""
    top = {
        "operators": [
            {
                "name": name,
                "may": may,
                "token_sha256": hashlib.sha256(token(name).encode()).hexdigest(),
            }
            for name, may in OPERATORS.items()
        ],
        "metrics_token": "os.environ/METRICS_TOKEN",
        "alertmanager_token": "os.environ/ALERT_TOKEN",
    }
    return world(
        "api",
        SERVICES,
        engines,
        top=top,
        METRICS_TOKEN="metrics-secret",
        ALERT_TOKEN="alert-secret",
    )


FIRST: dict[str, tuple[Answer, float]] = {}
"""The first call of the API after the start, and how long it took."""


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """A proxy where LiteLLM itself checks keys; without a database it knows the admin's only."""
    setup = setting(engines)
    start.begin(setup)
    found = start.of(setup).ready(api=False)
    began = time.monotonic()
    answer = found.client().get("/coalmine/api/services")
    FIRST["call"] = answer, time.monotonic() - began
    return found.ready()


def api(
    gateway: Gateway, verb: str, path: str, body: Any = None, key: str | None = MASTER_KEY
) -> Answer:
    """Call the API."""
    client = gateway.client(key)
    if verb == "GET":
        return client.get(f"/coalmine/api/{path}")
    return (client.put if verb == "PUT" else client.post)(f"/coalmine/api/{path}", body)


def refused(answer: Answer, status: int, code: str | None = None) -> dict[str, str]:
    """See that an answer is an error as the contract has it, and return it."""
    assert answer.status == status, answer
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["message"], "an error says why"
    if code is not None:
        assert error["code"] == code
    return error


def picture(gateway: Gateway, service: str) -> dict[str, Any]:
    """What a refused command must leave as it was."""
    found = gateway.service(service)
    return {
        name: found[name]
        for name in (
            "phase",
            "epoch",
            "stable",
            "candidate",
            "weight",
            "step",
            "waiting",
            "releases",
            "rollout",
            "reason",
            "since",
        )
    } | {"history": len(history(gateway, service))}


def history(gateway: Gateway, service: str) -> list[dict[str, Any]]:
    """The log of a service."""
    answer = api(gateway, "GET", f"services/{service}/history")
    assert answer.status == 200, answer
    return answer.json()["entries"]


# who may ---------------------------------------------------------------------------------------


CALLS = [
    ("GET", "services", None),
    ("GET", "services/idle", None),
    ("GET", "services/idle/history", None),
    ("PUT", "services/idle/releases/v9", {"slot": "green"}),
    *(
        ("POST", f"services/idle/{verb}", {"release": "v2"} if verb == "start" else {})
        for verb in VERBS
    ),
]


@pytest.mark.parametrize(("verb", "path", "body"), CALLS, ids=[f"{v} {p}" for v, p, _ in CALLS])
@pytest.mark.parametrize(
    "key",
    [
        pytest.param(None, id="no key"),
        pytest.param("sk-garbage", id="an unknown key"),
        pytest.param("garbage", id="garbage"),
        pytest.param("metrics-secret", id="the metrics token"),
        pytest.param("alert-secret", id="the alert token"),
    ],
)
def test_without_a_known_key_nothing_is_told_or_done(
    gateway: Gateway, key: str | None, verb: str, path: str, body: Any
) -> None:
    """401, and nothing has changed."""
    before = picture(gateway, "idle")
    answer = api(gateway, verb, path, body, key)
    refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert picture(gateway, "idle") == before


@pytest.mark.parametrize("who", OPERATORS)
@pytest.mark.parametrize("verb", VERBS)
def test_an_operator_may_do_what_the_policy_says_and_no_more(
    gateway: Gateway, verb: str, who: str
) -> None:
    """403 for the rest; what is allowed may still be refused by the phase (409), or be done."""
    before = picture(gateway, "idle")
    body = {"release": "no-such-release"} if verb == "start" else {}
    answer = api(gateway, "POST", f"services/idle/{verb}", body, token(who))
    if verb in OPERATORS[who]:
        assert answer.status == 409, answer
    else:
        error = refused(answer, 403, "forbidden")
        assert who in error["message"]
    assert api(gateway, "GET", "services/idle", key=token(who)).status == 200
    assert picture(gateway, "idle") == before


def test_metrics_want_a_reader_or_their_own_token(gateway: Gateway) -> None:
    """The alert token and strangers read nothing."""
    for key in (MASTER_KEY, token("reader"), "metrics-secret"):
        answer = gateway.client(key).get("/coalmine/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "coalmine_epoch{" in answer.text
    for key in (None, "alert-secret", "sk-garbage"):
        refused(gateway.client(key).get("/coalmine/metrics"), 401)


def test_healthz_is_open_and_tells_no_configuration(gateway: Gateway) -> None:
    """Whether it is well; no names, no addresses, no releases."""
    answer = gateway.client(None).get("/coalmine/healthz")
    assert answer.status == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["mode"] == "rollout"
    for secret in (
        *(s.name for s in SERVICES if s.name != "idle"),
        "v1",
        "v2",
        "127.0.0.1",
        "oncall",
        "sqlite",
        "blue",
        str(gateway.directory),
    ):
        assert f'"{secret}"' not in answer.text
        assert "http" not in answer.text


# what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "services/nobody"),
        ("GET", "services/nobody/history"),
        *(("POST", f"services/nobody/{verb}") for verb in VERBS),
        ("PUT", "services/nobody/releases/v2"),
    ],
)
def test_a_service_that_nobody_knows_is_404(gateway: Gateway, verb: str, path: str) -> None:
    """And the hint names those that are known."""
    body = {"slot": "green"} if verb == "PUT" else {"release": "v2"} if "start" in path else {}
    error = refused(api(gateway, verb, path, body), 404, "not_found")
    assert "nobody" in error["message"]
    assert "start" in error["hint"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"x"', id="a text"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param({}, id="no release"),
        pytest.param({"release": 7}, id="a number as release"),
        pytest.param({"release": "a b"}, id="a release with a space"),
        pytest.param({"release": "v2", "epoch": "now"}, id="an epoch in words"),
        pytest.param({"release": "v2", "weight": 3}, id="an unknown field"),
        pytest.param({"release": "v2", "reason": "x" * 100_000}, id="a reason of 100 KB"),
        pytest.param({"release": "v2", "full": "maybe"}, id="a switch that is none"),
    ],
)
def test_a_body_that_cannot_be_used_is_422(gateway: Gateway, body: Any) -> None:
    """With words that say which field, and nothing has changed."""
    before = picture(gateway, "idle")
    error = refused(api(gateway, "POST", "services/idle/start", body), 422, "bad_request")
    if isinstance(body, dict) and len(body) > 1:
        assert (
            any(field in error["message"] for field in body if field != "release")
            or "100000" in error["message"]
            or "body" in error["message"]
        )
    assert picture(gateway, "idle") == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"slot": "red"},
        {"slot": "green", "digest": "no digest"},
        {"slot": "green", "weights": "s3"},
    ],
)
def test_a_registration_that_cannot_be_used_is_422(gateway: Gateway, body: Any) -> None:
    """As for commands."""
    before = picture(gateway, "idle")
    refused(api(gateway, "PUT", "services/idle/releases/v9", body), 422, "bad_request")
    assert picture(gateway, "idle") == before


def test_what_the_phase_does_not_allow_is_409_and_changes_nothing(gateway: Gateway) -> None:
    """Through all phases of a rollout."""

    def no(verb: str, **body: Any) -> str:
        before = picture(gateway, "order")
        error = refused(api(gateway, "POST", f"services/order/{verb}", body), 409)
        assert picture(gateway, "order") == before
        return error["message"]

    for verb in ("pause", "resume", "promote"):
        assert "idle" in no(verb)
    assert "previous" in no("rollback")
    assert "v9" in no("start", release="v9")
    assert "stable" in no("start", release="v1")
    gateway.command("order", "start", release="v2")
    assert "canary" in no("start", release="v2")
    assert "canary" in no("resume")
    assert "v2" in no("rollback", to="v2")
    gateway.command("order", "pause")
    for verb in ("start", "promote"):
        assert "paused" in no(verb, **({"release": "v2"} if verb == "start" else {}))
    gateway.command("order", "resume")
    gateway.command("order", "promote", full=True)
    gateway.command("order", "promote")
    assert "baking" in no("start", release="v2")
    gateway.command("order", "rollback", reason="enough")
    gateway.until("order", "rolled_back")
    for verb in ("pause", "resume", "promote"):
        assert "rolled_back" in no(verb)
    # It is final for that rollout; a new one may start.
    assert gateway.command("order", "start", release="v2")["rollout"] == "order-2"


def test_an_old_epoch_is_409_but_for_a_rollback(gateway: Gateway) -> None:
    """Two people with the same picture cannot both act on it."""
    epoch = gateway.service("epoch")["epoch"]
    refused(
        api(gateway, "POST", "services/epoch/start", {"release": "v2", "epoch": epoch - 1}),
        409,
        "conflict",
    )
    started = gateway.command("epoch", "start", release="v2", epoch=epoch)
    for verb in ("pause", "promote"):
        before = picture(gateway, "epoch")
        error = refused(
            api(gateway, "POST", f"services/epoch/{verb}", {"epoch": epoch}), 409, "conflict"
        )
        assert str(started["epoch"]) in error["message"]
        assert picture(gateway, "epoch") == before
    back = gateway.command("epoch", "rollback", epoch=epoch, reason="at any epoch")
    assert back["changed"] is True


def test_a_release_without_deployments_or_with_a_dead_engine_does_not_start(
    gateway: Gateway, engines: Engines
) -> None:
    """Both slots must answer a real completion, or the rollout does not begin."""
    before = picture(gateway, "empty")
    error = refused(
        api(gateway, "POST", "services/empty/start", {"release": "v2"}), 409, "conflict"
    )
    assert "green" in error["message"]
    assert "model_info" in error["hint"]
    assert picture(gateway, "empty") == before
    before = picture(gateway, "start")
    for slot, deployment in (("green", "start-green-1"), ("blue", "start-blue-1")):
        with engines.faults(slot, error_share=1.0):
            error = refused(api(gateway, "POST", "services/start/start", {"release": "v2"}), 409)
        assert deployment in error["message"]
        assert picture(gateway, "start") == before
    assert gateway.command("start", "start", release="v2")["phase"] == "canary"


def test_a_release_is_not_registered_where_one_serves(gateway: Gateway) -> None:
    """Releases are immutable; a slot that serves is taken."""
    before = picture(gateway, "paused")
    error = refused(api(gateway, "PUT", "services/paused/releases/v3", {"slot": "blue"}), 409)
    assert "v1" in error["message"]
    refused(api(gateway, "PUT", "services/paused/releases/v1", {"slot": "green"}), 409)
    assert picture(gateway, "paused") == before
    digest = "sha256:" + "ab" * 32
    done = api(
        gateway,
        "PUT",
        "services/paused/releases/team/v3:1",
        {"slot": "green", "digest": digest},
        token("shipper"),
    )
    assert done.status == 200, done
    assert done.json()["releases"]["team/v3:1"] == {"slot": "green", "digest": digest}
    assert "v2" not in done.json()["releases"], "what ran in the slot before is gone from it"
    again = api(
        gateway, "PUT", "services/paused/releases/team/v3:1", {"slot": "green", "digest": digest}
    )
    assert (again.status, again.json()["changed"]) == (200, False)
    assert gateway.command("paused", "start", release="team/v3:1")["candidate"] == "team/v3:1"


# what is done ----------------------------------------------------------------------------------


def test_a_rollback_asked_twice_is_done_once(gateway: Gateway) -> None:
    """200 and `changed: false` the second time; the log has one entry of it."""
    gateway.command("twice", "start", release="v2")
    first = gateway.command("twice", "rollback", reason="smells")
    assert first["changed"] is True
    assert first["phase"] in ("rolling_back", "rolled_back")
    again = api(gateway, "POST", "services/twice/rollback", {"reason": "really"}, token("oncall"))
    assert again.status == 200
    assert again.json()["changed"] is False
    gateway.until("twice", "rolled_back")
    last = api(gateway, "POST", "services/twice/rollback", {})
    assert (last.status, last.json()["changed"]) == (200, False)
    assert [e["action"] for e in history(gateway, "twice")].count("rollback") == 1


def test_the_log_says_who_did_what_when_and_why(gateway: Gateway) -> None:
    """Newest first or oldest first, every change has an entry with the state before and after."""
    begun = datetime.datetime.now(datetime.timezone.utc)
    assert (
        api(
            gateway,
            "POST",
            "services/told/start",
            {"release": "v2", "reason": "nightly"},
            token("shipper"),
        ).status
        == 200
    )
    assert (
        api(gateway, "POST", "services/told/pause", {"reason": "lunch"}, token("oncall")).status
        == 200
    )
    assert api(gateway, "POST", "services/told/resume", {}, token("shipper")).status == 200
    assert api(gateway, "POST", "services/told/promote", {"full": True}).status == 200
    assert (
        api(gateway, "POST", "services/told/rollback", {"reason": "smells"}, token("oncall")).status
        == 200
    )
    gateway.until("told", "rolled_back")
    entries = sorted(history(gateway, "told"), key=lambda e: e["at"])
    told = [(e["who"], e["action"], e["reason"]) for e in entries]
    assert ("shipper", "start", "nightly") in told
    assert ("oncall", "pause", "lunch") in told
    assert ("oncall", "rollback", "smells") in told
    done = [action for _, action, _ in told]
    assert [a for a in done if a in VERBS] == ["start", "pause", "resume", "promote", "rollback"]
    start = entries[done.index("start")]
    assert start["before"]["phase"] == "idle"
    assert start["after"]["phase"] == "canary"
    moment = datetime.datetime.fromisoformat(start["at"].replace("Z", "+00:00"))
    assert abs((moment - begun).total_seconds()) < 30
    assert all(MASTER_KEY not in json.dumps(e) for e in entries)


def test_a_service_reads_as_the_contract_says(gateway: Gateway) -> None:
    """All fields, their units, null for what does not apply."""
    idle = gateway.service("idle")
    assert set(idle) >= {
        "service",
        "phase",
        "waiting",
        "epoch",
        "rollout",
        "stable",
        "candidate",
        "weight",
        "step",
        "steps",
        "since",
        "reason",
        "verdict",
        "arms",
        "workers",
        "unrecognised",
    }
    for name in ("waiting", "rollout", "candidate", "step", "steps", "verdict"):
        assert idle[name] is None, name
    assert idle["arms"]["candidate"] is None
    assert idle["arms"]["stable"]["release"] == "v1"
    assert idle["weight"] == 0
    datetime.datetime.fromisoformat(idle["since"].replace("Z", "+00:00"))
    running = (
        gateway.service("epoch") if gateway.service("epoch")["step"] else gateway.service("start")
    )
    assert (running["step"], running["steps"], running["weight"]) == (1, 2, 50)

    def judged() -> bool:
        verdict = gateway.service(running["service"])["verdict"]
        return bool(verdict) and verdict["decision"] == "hold" and bool(verdict["guardrails"])

    eventually(judged)
    found = api(gateway, "GET", "services").json()["services"]
    assert {one["service"] for one in found} == {one.name for one in SERVICES}


def test_a_step_that_wants_approval_waits_for_a_promote(gateway: Gateway) -> None:
    """It stays in canary and says for what it waits."""
    gateway.command("approve", "start", release="v2")

    def waits() -> bool:
        gateway.client().ask("chat", "approve", f"hello {next(FRESH)}")
        found = gateway.service("approve")
        return (found["phase"], found["step"], found["waiting"]) == ("canary", 1, "approval")

    eventually(waits)
    promoted = api(gateway, "POST", "services/approve/promote", {}, token("shipper")).json()
    assert (promoted["step"], promoted["weight"], promoted["waiting"]) == (2, 100, None)


def test_the_proxys_openapi_has_our_routes(gateway: Gateway) -> None:
    """With the bodies of the commands."""
    document = gateway.client().get("/openapi.json").json()
    paths = document["paths"]
    assert {
        "/coalmine/api/services",
        "/coalmine/api/services/{service}",
        "/coalmine/api/services/{service}/history",
        "/coalmine/metrics",
        "/coalmine/healthz",
        "/coalmine/alertmanager",
        *(f"/coalmine/api/services/{{service}}/{verb}" for verb in VERBS),
    } <= set(paths)
    start = paths["/coalmine/api/services/{service}/start"]["post"]
    assert "release" in json.dumps(start["requestBody"])


# alerts ----------------------------------------------------------------------------------------


def alert(service: str = "alarm", status: str = "firing", **labels: str) -> dict[str, Any]:
    """What Alertmanager sends."""
    return {
        "version": "4",
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "SlowAnswers", "service": service, **labels},
                "annotations": {"summary": "answers are slow"},
            }
        ],
    }


@pytest.mark.parametrize("key", [None, "sk-garbage", MASTER_KEY, "metrics-secret", token("oncall")])
def test_alerts_want_their_own_token(gateway: Gateway, key: str | None) -> None:
    """Not even an admin's key will do, as it could do more than alerts may."""
    before = picture(gateway, "alarm")
    refused(gateway.client(key).post("/coalmine/alertmanager", alert()), 401, "unauthorized")
    assert picture(gateway, "alarm") == before


def test_alerts_pause_and_roll_back_and_nothing_else(gateway: Gateway) -> None:
    """By label; a resolved alert does nothing, and one that its phase forbids is told, no error."""
    send = gateway.client("alert-secret").post
    path = "/coalmine/alertmanager"
    told = send(path, alert())
    assert told.status == 200
    assert told.json()["done"][0]["changed"] is False
    gateway.command("alarm", "start", release="v2")
    before = picture(gateway, "alarm")
    for body in ({}, {"alerts": 7}, {"alerts": ["x"]}, b"{", b"[]"):
        refused(send(path, body), 422, "bad_request")
    for verb in ("promote", "start", "resume"):
        assert send(path, alert(coalmine=verb)).json()["done"][0]["changed"] is False
    assert picture(gateway, "alarm") == before
    assert send(path, alert(status="resolved")).json() == {"done": []}
    assert send(path, alert(service="nobody")).json()["done"][0]["changed"] is False
    assert gateway.service("alarm")["phase"] == "canary"
    assert send(path, alert()).json()["done"][0]["phase"] == "paused"
    assert "slow" in gateway.service("alarm")["reason"]
    assert send(path, alert(coalmine="rollback")).json()["done"][0]["changed"] is True
    assert send(path, alert(coalmine="rollback")).json()["done"][0]["changed"] is False
    gateway.until("alarm", "rolled_back")
    assert any("SlowAnswers" in entry["who"] for entry in history(gateway, "alarm"))


# from the command line -------------------------------------------------------------------------


@pytest.fixture
def coalmine(gateway: Gateway) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `coalmine` as people do."""

    def run(
        *arguments: str, key: str = MASTER_KEY, url: str = gateway.url
    ) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PLUGIN),
            "HOME": str(gateway.directory),
            "COALMINE_URL": url,
            "COALMINE_KEY": key,
        }
        return subprocess.run(
            [sys.executable, "-m", "coalmine.cli.main", *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_rollout_by_the_command_line(
    gateway: Gateway, coalmine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Start, promote, roll back; refusals end with 1, misuse with 2, no proxy with 3."""
    started = coalmine("start", "cli", "v2")
    assert started.returncode == 0, started.stderr
    status = coalmine("status", "cli", "--json")
    assert json.loads(status.stdout)["phase"] == "canary"
    again = coalmine("start", "cli", "v2")
    assert again.returncode == 1
    assert "canary" in again.stderr
    assert coalmine("pause", "cli", key=token("reader")).returncode == 1
    assert gateway.service("cli")["phase"] == "canary"
    assert coalmine("rollback", "cli").returncode == 2  # without a reason
    back = coalmine("rollback", "cli", "--reason", "smells", key=token("oncall"))
    assert back.returncode == 0, back.stderr
    gateway.until("cli", "rolled_back")
    assert "smells" in coalmine("history", "cli").stdout
    assert coalmine("status", url=f"http://127.0.0.1:{free_port()}").returncode == 3


# after a start ---------------------------------------------------------------------------------


def test_the_first_call_after_a_start_is_answered_at_once(gateway: Gateway) -> None:
    """LiteLLM's routes, which it makes when first asked, do not stand before ours."""
    answer, took = FIRST["call"]
    assert gateway.setup.with_plugin
    assert answer.status == 200, answer
    assert took < 0.5

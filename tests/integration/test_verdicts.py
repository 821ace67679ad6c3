"""Verdicts by evidence in a real gateway: what is seen, how soon, and what one caller cannot do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coalmine.guardrails.units import OPENING

from .client import Client
from .conftest import Starter
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, eventually
from .worlds import QUIET, Svc, world

PLAN = {"steps": [{"weight": 10, "for": "10h"}], "bake": "10h"}
HALF = {"steps": [{"weight": 50, "for": "10h"}], "bake": "10h"}
ERRORS = {"name": "errors", "metric": "error_rate", "rule": "evidence", "severity": "critical"}
TTFT = {"name": "ttft", "metric": "ttft", "rule": "evidence"}
BY_EVIDENCE = {"guardrails": [ERRORS], "circuit_breaker": False, "alpha": 0.0002}
SERVICES = [
    Svc("proof", rollout=PLAN, more=BY_EVIDENCE),
    Svc("loud", rollout=HALF, more=BY_EVIDENCE),
    Svc("cut", rollout=HALF, more={"guardrails": QUIET}),
    Svc("hang", rollout=HALF, more={"guardrails": [TTFT], "circuit_breaker": False}),
    Svc("spare"),
    Svc("dry", rollout=HALF,
        more={"guardrails": [{**ERRORS, "dry_run": True}], "circuit_breaker": False}),
    Svc("outage", blue=2, rollout=HALF, more={"guardrails": [ERRORS], "circuit_breaker": False}),
    Svc("proven", rollout={"steps": [{"weight": 50, "require": "evidence"}, {"weight": 60,
                                                                            "for": "10h"}]},
        more={**BY_EVIDENCE, "sessions": {"grace": "0s", "closes_after": "2s"}}),
]
KEYS = {f"sk-client-{n}": f"client-{n}" for n in range(400)} | {"sk-loud": "batch-job"}


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """Two workers that record what happens."""
    return start(world("verdicts", SERVICES, engines, workers=2, keys=KEYS,
                       top={"record": {"folder": "recorded"}}))[0]


@pytest.fixture(scope="module", autouse=True)
def proven(gateway: Gateway, engines: Engines) -> dict[str, Any]:
    """The service `proven` before its candidate is. What speaks for that is told when openings are
    over, however soon conversations end: a minute and a half in which others are tested."""
    gateway.command("proven", "start", release="v2")
    for number in range(10):
        converse(gateway, "proven", str(number))
    waits = eventually(lambda: (found := gateway.service("proven"))["verdict"]
                       and "not yet proven" in found["verdict"]["reason"] and found)
    with engines.faults("blue", error_share=1):
        for number in range(60):
            gateway.client().ask("chat", "proven", "hello", session=f"proven-late-{number}")
    return waits


def back(gateway: Gateway, service: str) -> dict[str, Any] | None:
    """The service once it is on its way back."""
    seen = gateway.service(service)
    return seen if seen["phase"] in ("rolling_back", "rolled_back") else None


def entry(gateway: Gateway, service: str, action: str) -> dict[str, Any]:
    """The last line of the log with an action."""
    found = gateway.client().get(f"/coalmine/api/services/{service}/history").json()["entries"]
    return next(one for one in reversed(found) if one["action"] == action)


def converse(gateway: Gateway, service: str, name: str, key: str = MASTER_KEY, **more: Any) -> Any:
    """Begin a conversation; whatever the candidate does, the user is served."""
    answer = gateway.client(key).ask("chat", service, "hello", session=f"{service}-{name}", **more)
    assert answer.good, answer
    return answer


def test_a_candidate_that_fails_all_is_rolled_back_after_a_few_conversations(
    gateway: Gateway, engines: Engines
) -> None:
    """At a weight of 10 %; the log says what was seen, so that it can be judged again. Each comes
    with a key of its own: of a few that one key has three of, only a pause would come."""
    gateway.command("proof", "start", release="v2")
    with engines.faults("green", error_share=1):
        for number in range(400):
            converse(gateway, "proof", str(number), f"sk-client-{number}")
            if back(gateway, "proof"):
                break
    seen = eventually(lambda: back(gateway, "proof"))
    assert seen["weight"] == 0
    assert "errors: the candidate failed " in seen["reason"]
    assert "where stable fails 0 %: evidence " in seen["reason"]
    told = entry(gateway, "proof", "rollback")
    (judged,) = told["figures"]["verdict"]["guardrails"]
    assert judged["evidence"] >= judged["bar"] == 10_000.0
    failed = gateway.attempts("proof")["proof-green-1", "error"]
    assert 3 <= failed <= 12, "the controller reads on while conversations begin"


def test_one_key_that_causes_all_errors_only_pauses(gateway: Gateway, engines: Engines) -> None:
    """Eight callers are content; the ninth gets errors from the candidate, whatever he asks."""
    gateway.command("loud", "start", release="v2")
    for number in range(200):
        for key in ("sk-client-0", f"sk-client-{number % 8}"):
            converse(gateway, "loud", f"{key}-{number}", key)
        with engines.faults("green", error_share=1):
            converse(gateway, "loud", f"loud-{number}", "sk-loud")
        if gateway.service("loud")["phase"] != "canary":
            break
    seen = eventually(lambda: (found := gateway.service("loud"))["phase"] == "paused" and found)
    assert "it vanishes without the key batch-job, so it only pauses" in seen["reason"]
    told = entry(gateway, "loud", "pause")
    assert told["who"] == "guardrail errors"
    gateway.command("loud", "rollback", reason="seen enough")


def test_the_circuit_breaker_cuts_a_dead_candidate_off(gateway: Gateway, engines: Engines) -> None:
    """The worker that sees it acts; no guardrail of this policy ever would."""
    gateway.command("cut", "start", release="v2")
    with engines.faults("green", error_share=1):
        for number in range(400):
            converse(gateway, "cut", str(number), f"sk-client-{number % 8}")
            if back(gateway, "cut"):
                break
    seen = eventually(lambda: back(gateway, "cut"))
    assert "this worker saw the candidate fail " in seen["reason"]
    told = entry(gateway, "cut", "rollback")
    assert told["who"] == "circuit breaker"
    assert told["figures"]["evidence"] >= told["figures"]["bar"]
    gateway.until("cut", "rolled_back")


def test_a_hang_is_seen_before_it_ends(gateway: Gateway, engines: Engines) -> None:
    """Nobody waits for the timeout: the clock has passed what stable ever took."""
    def begin(name: str) -> threading.Thread:
        """Begin one beside another service, so that stable is as slow early as late."""
        thread = threading.Thread(target=ask, args=(name,), daemon=True)
        thread.start()
        converse(gateway, "spare", f"beside-{name}")
        return thread

    def ask(name: str) -> None:
        with closing(Client(gateway.url, MASTER_KEY)) as client:
            client.ask("chat", "hang", "hello", session=f"hang-{name}", stream=True)

    gateway.command("hang", "start", release="v2")
    for number in range(250):
        begin(f"early-{number}").join()
    with engines.faults("green", hang_share=1, hang_seconds=25):
        threads = [begin(f"late-{number}") for number in range(72)]
        seen = eventually(lambda: back(gateway, "hang"), 20)
        assert any(thread.is_alive() for thread in threads), "they still hang"
    assert "had a turn among stable's slowest" in seen["reason"]
    for thread in threads:
        thread.join(40)


def test_a_dry_run_shows_its_evidence_and_never_acts(gateway: Gateway, engines: Engines) -> None:
    """Far past its bar."""
    gateway.command("dry", "start", release="v2")
    with engines.faults("green", error_share=1):
        for number in range(100):
            converse(gateway, "dry", str(number), f"sk-client-{number % 8}")

    def shown() -> Any:
        (found,) = gateway.service("dry")["verdict"]["guardrails"]
        return found if (found["evidence"] or 0) > found["bar"] else None

    found = eventually(shown)
    assert (found["status"], found["dry_run"]) == ("breach", True)
    assert gateway.service("dry")["phase"] == "canary"
    metrics = gateway.metrics()["coalmine_guardrail_evidence"]
    assert max(value for labels, value in metrics.items()
               if ("service", "dry") in labels) > found["bar"]


def test_an_outage_of_both_arms_is_not_the_candidates(gateway: Gateway, engines: Engines) -> None:
    """Though LiteLLM cools stable's deployments down, and never the candidate's: what stable's
    conversations meet is evidence all the same."""
    gateway.command("outage", "start", release="v2")
    names = [f"sk-client-{number % 8} {number}" for number in range(80)]
    for name in names:
        converse(gateway, "outage", name, name.split()[0])
    overloaded = {"error_share": 1, "error_status": 429}
    with engines.faults("blue", **overloaded), engines.faults("green", **overloaded):
        for name in names:
            gateway.client(name.split()[0]).ask("chat", "outage", "and now?",
                                                session=f"outage-{name}")

    def all_failed() -> Any:
        found = gateway.service("outage")
        candidate = found["arms"]["candidate"]
        return found if candidate["failures"] >= candidate["conversations"] > 20 else None

    found = eventually(all_failed)
    assert found["phase"] == "canary", found["reason"]
    (judged,) = found["verdict"]["guardrails"]
    assert judged["evidence"] < 5


def test_a_step_that_requires_evidence_ends_when_the_candidate_is_proven(
    gateway: Gateway, proven: dict[str, Any]
) -> None:
    """Stable has failed and the candidate has not; before that, the verdict said what was missing.
    """
    assert "not yet proven no worse: errors" in proven["verdict"]["reason"]
    assert proven["step"] == 1
    eventually(lambda: gateway.service("proven")["step"] == 2, OPENING + 10.0)


def test_what_was_recorded_is_replayed_to_the_same_decision(
    gateway: Gateway, tmp_path: Path
) -> None:
    """By the same policy, with a bar that leaves room for the order in which workers were heard.
    The gateway ends for it: what is held is written then."""
    gateway.signal(signal.SIGTERM)
    assert gateway.process is not None
    gateway.process.wait(20)
    policy = tmp_path / "coalmine.yaml"
    rules = json.loads(gateway.setup.policy or "")
    for service in rules["services"].values():
        service["alpha"] = 0.02
    policy.write_text(json.dumps(rules))
    for service, decision in (("proof", "rollback"), ("loud", "pause")):
        done = subprocess.run(
            [sys.executable, "-m", "coalmine.cli.main", "replay", "--service", service, "--json",
             str(policy), str(gateway.directory / "recorded")],
            capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(gateway.plugin_root)},
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert (found["decision"], found["guardrail"]) == (decision, "errors"), done.stdout
        assert found["attempts"] >= found["conversations"] >= 2

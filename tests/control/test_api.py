"""The HTTP API as design.md's contract has it: statuses, bodies, and who may what."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.commands import Probe
from coalmine.control.controller import published_name
from coalmine.release import CoalmineError, Slot
from coalmine.rollout import Service
from coalmine.routing import Phase
from coalmine.state import Beat, Entry, State

Make = Callable[..., Any]
ADMIN = {"authorization": "Bearer sk-admin"}


# who ----------------------------------------------------------------------------------------------
PATHS = [
    ("GET", "/api/services"), ("GET", "/api/services/chat"), ("GET", "/api/services/chat/history"),
    ("GET", "/api/deployments"),
    *(("POST", f"/api/services/chat/{action}")
      for action in ("start", "pause", "resume", "promote", "rollback")),
    ("PUT", "/api/services/chat/releases/v3"), ("GET", "/metrics"), ("POST", "/alertmanager"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("header", [None, "Bearer nobody", "Basic op"])
def test_without_a_known_key_it_is_401(
    api: Make, error_of: Make, method: str, path: str, header: str | None
) -> None:
    """On every path but healthz."""
    headers = {"authorization": header} if header else {}
    answer = api().client.request(method, f"/coalmine{path}", headers=headers, json={})
    error_of(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), [p for p in PATHS if p[1] != "/alertmanager"])
def test_a_known_key_that_may_not_is_403(api: Make, error_of: Make, method: str, path: str) -> None:
    """A user's key of LiteLLM opens nothing."""
    answer = api().client.request(method, f"/coalmine{path}", json={},
                                  headers={"authorization": "Bearer sk-user"})
    error_of(answer, 403, "forbidden")


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/api/services", 200), ("GET", "/metrics", 200),
    ("POST", "/api/services/chat/pause", 200), ("POST", "/api/services/chat/rollback", 200),
    ("POST", "/api/services/chat/start", 403), ("POST", "/api/services/chat/promote", 403),
    ("POST", "/api/services/chat/resume", 403), ("PUT", "/api/services/chat/releases/v3", 403),
])
def test_an_operator_may_what_the_policy_says(
    api: Make, method: str, path: str, status: int
) -> None:
    """Reading goes with it."""
    answer = api(Phase.CANARY).client.request(
        method, f"/coalmine{path}", json={}, headers={"authorization": "Bearer op"})
    assert answer.status_code == status


def test_what_an_operator_did_is_in_the_log(api: Make) -> None:
    """By name, not by token."""
    served = api(Phase.CANARY)
    served.post("/api/services/chat/pause", {"reason": "odd answers"},
                headers={"authorization": "Bearer op"})
    last = served.get("/api/services/chat/history").json()["entries"][-1]
    assert (last["who"], last["action"], last["reason"]) == ("oncall", "pause", "odd answers")


def test_the_metrics_token_reads_the_metrics_and_nothing_else(api: Make, error_of: Make) -> None:
    """Prometheus needs no more."""
    served, token = api(), {"authorization": "Bearer m-token"}
    answer = served.get("/metrics", headers=token)
    assert (answer.status_code, answer.text) == (200, "coalmine_up 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    error_of(served.get("/api/services", headers=token), 401, "unauthorized")


def test_a_secret_that_is_not_set_is_nobodys_and_nobody_is_told(api: Make, error_of: Make) -> None:
    """The name of its variable is no stranger's business; admins are not locked out."""
    def unset() -> str:
        raise CoalmineError("the policy refers to os.environ/SECRET_NAME, but it is not set")

    served = api(metrics_token=unset, alert_token=unset)
    assert served.get("/metrics").status_code == 200
    for answer in (served.get("/metrics", headers={}), served.post("/alertmanager", {})):
        error_of(answer, 401, "unauthorized")
        assert "SECRET_NAME" not in answer.text


def test_healthz_is_open(api: Make) -> None:
    """And 503 when something is wrong."""
    assert api().get("/healthz", headers={}).json() == {"status": "ok"}
    ill = api(None, health=lambda: ({"status": "degraded"}, False))
    assert ill.get("/healthz", headers={}).status_code == 503


# reading ------------------------------------------------------------------------------------------
SERVICE = {
    "service", "phase", "waiting", "epoch", "rollout", "stable", "candidate", "weight", "step",
    "steps", "since", "reason", "verdict", "arms", "workers", "unrecognised",
}
ARM = {
    "release", "slot", "conversations", "attempts", "failures", "in_flight", "ttft_p50",
    "ttft_p95", "ttft_p99",
}


@pytest.mark.parametrize("phase", list(Phase))
def test_a_service_reads_as_the_contract_has_it(api: Make, phase: Phase) -> None:
    """In every phase all names are there."""
    served = api(phase)
    document = served.get("/api/services/chat").json()
    assert document.keys() >= SERVICE
    assert (document["service"], document["phase"]) == ("chat", phase.value)
    assert document["arms"]["stable"].keys() == ARM
    assert document["since"].endswith("Z")
    assert served.get("/api/services").json() == {"services": [document]}


def test_the_figures_and_the_workers_are_in_it(api: Make, state: State, clock: Any) -> None:
    """In flight is the sum over the live workers; weights are percent, steps count from 1."""
    served = api(Phase.CANARY)
    state.beat(Beat("w1", "g1", {"chat": 2}, {"chat/v2": 2}))
    state.beat(Beat("w2", "g2", {"chat": 1}, {"chat/v2": 1, "chat/v1": 4}))
    figures = {"conversations": 7, "attempts": 9, "failures": 1, "ttft_p50": 0.1, "ttft_p95": 0.2,
               "ttft_p99": 0.3}
    state.publish(published_name("chat"), {
        "arms": {"candidate": figures}, "unrecognised": 0.25,
        "verdict": {"decision": "hold", "reason": "soaks", "guardrails": []}})
    document = served.get("/api/services/chat").json()
    assert document["arms"]["candidate"] == {
        **figures, "release": "v2", "slot": "green", "in_flight": 3}
    assert document["arms"]["stable"]["in_flight"] == 4
    assert (document["weight"], document["step"], document["steps"]) == (10, 1, 2)
    assert [(w["id"], w["gateway"], w["epoch"]) for w in document["workers"]] == [
        ("w1", "g1", 2), ("w2", "g2", 1)]
    assert document["unrecognised"] == 0.25
    assert document["verdict"]["decision"] == "hold"


def test_time_in_which_nobody_judged_is_not_shown_as_soaked(
    api: Make, state: State, clock: Any
) -> None:
    """As in the reason, which says how long it soaks for yet; of another step it is none."""
    served = api(Phase.CANARY)
    rollout = served.get("/api/services/chat").json()
    began = clock.now
    clock.now += 300
    for step_began, judged, soaked in ((began, clock.now, 60), (began - 1, clock.now, 300),
                                       (began, clock.now - 40, 30)):
        state.publish(published_name("chat"), {"at": judged, "arms": {}, "step_began": step_began,
                                               "unwatched": 240.0})
        assert served.get("/api/services/chat").json()["soaked"] == rollout["soaked"] + soaked


def test_a_grace_is_shown_until_it_is_over(api: Make, clock: Any) -> None:
    """Who tries a rollout with a fresh id of their own would else wonder why they get stable."""
    served = api(Phase.CANARY)
    assert served.get("/api/services/chat").json()["grace_until"] == "2023-11-14T22:14:20.000Z"
    clock.now += 60
    assert served.get("/api/services/chat").json()["grace_until"] is None


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.ROLLING_BACK, Phase.ROLLED_BACK])
def test_no_grace_runs_without_a_rollout(api: Make, phase: Phase) -> None:
    """Nobody is drawn then."""
    assert api(phase).get("/api/services/chat").json()["grace_until"] is None


def test_each_deployments_figures_are_shown(api: Make) -> None:
    """Also where there is no policy, and so no service."""
    figures = {"service": "chat", "deployment": "gpu1", "release": "", "arm": "", "attempts": 9,
               "failures": 1, "ttft": 0.2, "request": 1.5}
    served = api(None, deployments=lambda: [figures])
    assert served.get("/api/deployments").json() == {"deployments": [figures]}


def test_the_status_is_shown_without_the_state(api: Make) -> None:
    """What this worker applies is worth showing; the figures are null."""
    served = api(Phase.CANARY)
    served.away.away = True
    document = served.get("/api/services/chat").json()
    assert (document["phase"], document["workers"], document["unrecognised"]) == (
        "canary", [], None)


def test_the_history_is_the_log(api: Make) -> None:
    """Oldest first, and not more than was asked for."""
    served = api(Phase.CANARY)
    for action in ("pause", "resume", "pause"):
        assert served.post(f"/api/services/chat/{action}").status_code == 200
    entries = served.get("/api/services/chat/history").json()["entries"]
    assert [e["action"] for e in entries] == ["born", "pause", "resume", "pause"]
    assert entries[0].keys() >= {"at", "who", "action", "reason", "before", "after"}
    last = served.get("/api/services/chat/history?limit=2").json()["entries"]
    assert last == entries[-2:]
    assert entries[-1]["after"]["phase"] == "paused"


@pytest.mark.parametrize("limit", ["many", "-1", "", "1.5", "9" * 30, "٣"])
def test_a_limit_that_is_none_is_an_error_of_ours(api: Make, error_of: Make, limit: str) -> None:
    """In the form of all our errors, not in the framework's."""
    error_of(api().get("/api/services/chat/history", params={"limit": limit}), 422, "bad_request")


def test_without_the_state_there_is_no_history(api: Make, error_of: Make) -> None:
    """503: it is nobody's fault but ours."""
    served = api()
    served.away.away = True
    error_of(served.get("/api/services/chat/history"), 503, "state_unreachable")


@pytest.mark.parametrize(("method", "path"), [
    (method, path.replace("chat", "chta")) for method, path in PATHS if "chat" in path])
def test_an_unknown_service_is_404(api: Make, error_of: Make, method: str, path: str) -> None:
    """And the known ones are named."""
    body = {"slot": "green"} if method == "PUT" else {"release": "v2"}
    answer = api().client.request(method, f"/coalmine{path}", headers=ADMIN,
                                  json=body if method != "GET" else None)
    assert "chat" in error_of(answer, 404, "not_found")["hint"]


# commands -----------------------------------------------------------------------------------------
def test_a_rollouts_life_over_http(api: Make) -> None:
    """Each command answers with the service after it, and whether it changed."""
    served = api()
    for action, body, phase, weight in [
        ("start", {"release": "v2", "reason": "new weights"}, "canary", 10),
        ("pause", None, "paused", 10), ("resume", {}, "canary", 10),
        ("promote", {"full": True}, "canary", 100), ("promote", None, "baking", 98),
        ("rollback", {"reason": "bad"}, "rolling_back", 0),
    ]:
        answer = served.post(f"/api/services/chat/{action}", body)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document.keys() >= SERVICE
        assert (document["changed"], document["phase"], document["weight"]) == (True, phase, weight)
    again = served.post("/api/services/chat/rollback")
    assert (again.status_code, again.json()["changed"]) == (200, False)


@pytest.mark.parametrize(("phase", "action"), [
    (Phase.CANARY, "start"), (Phase.PAUSED, "start"), (Phase.BAKING, "start"),
    (Phase.ROLLING_BACK, "start"), (Phase.IDLE, "pause"), (Phase.IDLE, "resume"),
    (Phase.IDLE, "promote"), (Phase.IDLE, "rollback"), (Phase.PAUSED, "promote"),
    (Phase.CANARY, "resume"), (Phase.ROLLED_BACK, "promote"),
])
def test_what_the_phase_does_not_allow_is_409(
    api: Make, error_of: Make, phase: Phase, action: str
) -> None:
    """With the reason and what to do instead."""
    error = error_of(api(phase).post(f"/api/services/chat/{action}", {"release": "v2"}),
                     409, "refused")
    assert error["hint"]


@pytest.mark.parametrize("action", ["start", "pause", "resume", "promote"])
def test_another_epoch_is_409_except_for_a_rollback(api: Make, error_of: Make, action: str) -> None:
    """A rollback needs none."""
    served = api(Phase.CANARY)
    error_of(served.post(f"/api/services/chat/{action}", {"release": "v2", "epoch": 99}),
             409, "conflict")
    answer = served.post("/api/services/chat/rollback", {"epoch": 99})
    assert (answer.status_code, answer.json()["phase"]) == (200, "rolling_back")


def test_a_rollback_to_a_release_that_nobody_knows_names_the_known_ones(
    api: Make, error_of: Make
) -> None:
    """People mistype names most when it burns."""
    error = error_of(api().post("/api/services/chat/rollback", {"to": "v9"}), 409, "refused")
    assert error["message"] == "release 'v9' of chat is not known"
    assert error["hint"] == "known are v1, v2"


def test_a_promotion_without_a_reason_says_by_whom_it_was(api: Make) -> None:
    """In the status and in the log; an empty field would look like a fault."""
    served = api(Phase.CANARY)
    assert served.post("/api/services/chat/promote").json()["reason"] == "promoted by root"
    last = served.get("/api/services/chat/history").json()["entries"][-1]
    assert (last["action"], last["reason"]) == ("promote", "promoted by root")


def test_an_engine_that_does_not_answer_is_409(api: Make, error_of: Make) -> None:
    """Nothing was started."""
    served = api()
    served.engines.answers[Slot.GREEN] = [Probe("g1", "timeout")]
    error_of(served.post("/api/services/chat/start", {"release": "v2"}), 409, "conflict")
    assert served.get("/api/services/chat").json()["phase"] == "idle"


BODIES: list[tuple[Any, str]] = [
    (b"{", "not JSON"), (b"[" * 50_000, "not JSON"), (b"\xff\xfe", "not JSON"), (b"[]", "body"),
    (b'"v2"', "body"), (b"null", "body"), (b'{"relase": "v2"}', "relase"),
    (b'{"release": "a b"}', "release"), (b'{"release": 5}', "release"),
    (b'{"epoch": "new"}', "epoch"), (b"{}", "release is missing"),
    (json.dumps({"reason": "x" * 2001}).encode(), "reason"), (b" " * 70_000, "65536"),
]


@pytest.mark.parametrize(("body", "word"), BODIES, ids=[word for _, word in BODIES])
def test_a_body_that_cannot_be_used_is_422(
    api: Make, error_of: Make, body: bytes, word: str
) -> None:
    """All problems in one line, in the form of all our errors."""
    answer = api().client.post("/coalmine/api/services/chat/start", content=body, headers=ADMIN)
    error = error_of(answer, 422, "bad_request")
    assert word in error["message"]
    assert "\n" not in error["message"]


def test_an_empty_body_is_one_without_fields(api: Make) -> None:
    """As curl -X POST sends it."""
    answer = api(Phase.CANARY).client.post("/coalmine/api/services/chat/pause", headers=ADMIN)
    assert answer.status_code == 200


def test_half_a_character_in_a_reason_does_not_stop_a_rollback(api: Make) -> None:
    """JSON may carry it, a state cannot; the rollback would wait to be written for ever."""
    served = api(Phase.CANARY)
    answer = served.client.post("/coalmine/api/services/chat/rollback", headers=ADMIN,
                                content=b'{"reason": "bad \\ud800 answers"}')
    assert (answer.status_code, answer.json()["reason"]) == (200, "bad ? answers")
    assert served.state.load()["chat"].phase is Phase.ROLLING_BACK


def test_a_rollback_with_the_state_away_is_200_and_says_so(api: Make, error_of: Make) -> None:
    """This worker applies it at once; everything else is 503."""
    served = api(Phase.CANARY)
    served.away.away = True
    error_of(served.post("/api/services/chat/pause"), 503, "state_unreachable")
    answer = served.post("/api/services/chat/rollback", {"reason": "bad"})
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    assert answer.json()["phase"] == "rolling_back"
    assert "out of reach" in answer.json()["note"]
    again = served.post("/api/services/chat/rollback")
    assert (again.status_code, again.json()["changed"]) == (200, False)


# registering --------------------------------------------------------------------------------------
def test_a_release_is_registered(api: Make) -> None:
    """At run time, also one whose name holds a slash."""
    served = api()
    answer = served.put("/api/services/chat/releases/org/model-v3",
                        {"slot": "green", "digest": "sha256:" + "a" * 64})
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    assert answer.json()["releases"]["org/model-v3"]["slot"] == "green"


@pytest.mark.parametrize(("release", "body", "status", "code"), [
    ("v3", {"slot": "blue"}, 409, "refused"), ("v3", {"slot": "red"}, 422, "bad_request"),
    ("v3", {}, 422, "bad_request"), ("v3", {"slot": "green", "digest": "?"}, 422, "bad_request"),
    ("a%20b", {"slot": "green"}, 422, "bad_request"), ("v1", {"slot": "green"}, 409, "refused"),
])
def test_a_release_that_cannot_be_registered(
    api: Make, error_of: Make, release: str, body: Any, status: int, code: str
) -> None:
    """409 when the slot serves, 422 when it makes no sense."""
    error_of(api().put(f"/api/services/chat/releases/{release}", body), status, code)


def test_a_services_name_may_hold_slashes(
    api: Make, state: State, put: Make, clock: Any
) -> None:
    """LiteLLM's model groups often do."""
    service: Service = put(phase=Phase.CANARY).model_copy(update={"name": "org/chat"})
    assert state.swap(None, service, Entry(0, "org/chat", "ann", "born", ""))
    served = api(None)
    assert served.get("/api/services/org/chat").json()["service"] == "org/chat"
    assert served.get("/api/services/org/chat/history").json()["entries"][0]["action"] == "born"
    assert served.post("/api/services/org/chat/pause").json()["phase"] == "paused"
    assert served.put("/api/services/org/chat/releases/org/v3", {"slot": "blue"}
                      ).status_code == 409

"""Alertmanager's webhook: what alerts may do, and what they are told."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.commands import Probe
from coalmine.release import Slot
from coalmine.rollout import Promote, apply
from coalmine.routing import Phase
from coalmine.state import Entry, State

Make = Callable[..., Any]


def alert(service: Any = "chat", action: str | None = None, **more: Any) -> dict[str, Any]:
    labels = {"alertname": "TooSlow", "service": service} | ({"coalmine": action} if action else {})
    return {"status": "firing", "labels": labels, "annotations": {"summary": "p99 is high"}, **more}


def hook(served: Any, *alerts: Any) -> Any:
    return served.post("/alertmanager", {"alerts": alerts},
                       headers={"authorization": "Bearer a-token"})


def test_an_alert_pauses_and_rolls_back(api: Make) -> None:
    """Pausing is the default; the pause has a timebox, and the log the alert's name."""
    served = api(Phase.CANARY)
    assert hook(served, alert()).json() == {
        "done": [{"service": "chat", "changed": True, "phase": "paused"}]}
    rollout = served.state.load()["chat"].rollout
    assert rollout is not None
    assert rollout.pause is not None
    assert (rollout.pause.by, rollout.pause.timebox) == ("alert", 1200.0)
    assert hook(served, alert(action="rollback")).json()["done"][0]["phase"] == "rolling_back"
    last = served.get("/api/services/chat/history").json()["entries"][-1]
    assert (last["who"], last["reason"]) == ("alert TooSlow", "p99 is high")


def test_alerts_that_change_nothing_are_told_and_no_error(api: Make) -> None:
    """Alertmanager would send them again and again."""
    served = api()
    answer = hook(served, alert(), alert("chta"), alert(action="delete"), alert(["chat"]))
    assert answer.status_code == 200
    assert [each["changed"] for each in answer.json()["done"]] == [False] * 4


def test_one_alerts_fault_keeps_none_of_the_others_back(api: Make) -> None:
    """The rollback behind a misspelt one is done."""
    served = api(Phase.CANARY)
    answer = hook(served, alert(action="delete"), alert(action="rollback"))
    assert [each["changed"] for each in answer.json()["done"]] == [False, True]


def test_what_is_resolved_or_names_no_service_is_passed_over(api: Make) -> None:
    """Only firing alerts of a service count."""
    served = api(Phase.CANARY)
    answer = hook(served, alert(status="resolved"), alert(None), {"status": "firing"})
    assert answer.json() == {"done": []}
    assert served.get("/api/services/chat").json()["phase"] == "canary"


def test_an_alert_does_not_leave_idle_for_an_engine_that_is_gone(
    api: Make, state: State, put: Make, clock: Any
) -> None:
    """Like a person's rollback in idle, it asks the previous release first."""
    service = put(phase=Phase.BAKING)
    assert state.swap(service, apply(service, Promote(at=clock.now, who="ann")),
                      Entry(0, "chat", "ann", "promote", ""))
    served = api(None)
    served.engines.answers[Slot.BLUE] = [Probe("b1", "gone")]
    done = hook(served, alert(action="rollback")).json()["done"]
    assert done[0]["changed"] is False
    assert "b1: gone" in done[0]["reason"]
    assert served.get("/api/services/chat").json()["stable"] == "v2"


def test_an_alert_that_needs_the_state_is_sent_again(api: Make, error_of: Make) -> None:
    """503 after the others were done; Alertmanager repeats."""
    served = api(Phase.CANARY)
    served.away.away = True
    error_of(hook(served, alert(), alert(action="rollback")), 503, "state_unreachable")
    assert served.get("/api/services/chat").json()["phase"] == "rolling_back"


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b'{"alerts": 5}', b'{"alerts": [5]}',
                                  b'{"alerts": [{"labels": "x", "status": "firing"}]}'])
def test_what_is_no_webhook_is_422(api: Make, error_of: Make, body: bytes) -> None:
    """In the form of all our errors."""
    answer = api().client.post("/coalmine/alertmanager", content=body,
                               headers={"authorization": "Bearer a-token"})
    error_of(answer, 422, "bad_request")


def test_the_alert_token_opens_nothing_else(api: Make, error_of: Make) -> None:
    """Nor does an admin's key open the webhook."""
    served = api()
    error_of(served.post("/api/services/chat/pause",
                         headers={"authorization": "Bearer a-token"}), 401, "unauthorized")
    error_of(served.post("/alertmanager", {"alerts": []}), 401, "unauthorized")


def test_alerts_without_a_token_in_the_policy_say_which_field_is_missing(
    api: Make, error_of: Make
) -> None:
    """Whoever sets Alertmanager up reads it in Alertmanager's log."""
    for read in (lambda: None, lambda: ""):
        served = api(None, alert_token=read)
        error = error_of(hook(served, alert()), 401, "unauthorized")
        assert "the policy has no alertmanager_token" in error["message"]
        assert "alertmanager_token: os.environ/NAME" in error["hint"]

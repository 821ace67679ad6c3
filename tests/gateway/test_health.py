"""What healthz says, and when it is degraded."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.controller import published_name
from coalmine.control.document import HealthDocument
from coalmine.control.policy_report import PolicyReport
from coalmine.gateway.health import NOBODY, ControllerWatch, health_document, standing
from coalmine.state import State

FINE: dict[str, Any] = {
    "observing": False, "silence": 0.1, "unused": False, "problems": 0, "controller": "ok",
    "warnings": 0,
}
AT_BOOT = PolicyReport("error", "coalmine.yaml", ("wrong",), 1.0, in_force=False)
LATER = PolicyReport("error", "coalmine.yaml", ("wrong",), 1.0)
APPEARED = PolicyReport("restart_needed", "coalmine.yaml", (), 1.0, in_force=False)


@pytest.mark.parametrize(("report", "facts", "well", "mode", "state", "policy", "controller"), [
    (PolicyReport(), {}, True, "rollout", "reached", "ok", "ok"),
    (PolicyReport(in_force=False), {"observing": True}, True,
     "observe", "reached", "ok", "unknown"),
    # Who wrote a policy did not want to observe; and the state that it names cannot be known.
    (AT_BOOT, {"silence": 99.0, "unused": True}, False,
     "stable_only", "unused", "error", "unknown"),
    # For a moment, when the policy was mended: the state that it names was not looked for yet.
    (PolicyReport(), {"silence": 99.0, "unused": True}, False,
     "stable_only", "unused", "ok", "unknown"),
    (LATER, {}, False, "rollout", "reached", "error", "ok"),
    (APPEARED, {"observing": True}, True, "observe", "reached", "restart_needed", "unknown"),
    (PolicyReport(), {"silence": 99.0}, False, "rollout", "out_of_reach", "ok", "unknown"),
    (PolicyReport(), {"problems": 1}, False, "stable_only", "reached", "ok", "ok"),
    (PolicyReport(), {"controller": "missing"}, False, "rollout", "reached", "ok", "missing"),
    (PolicyReport(), {"controller": "unknown"}, True, "rollout", "reached", "ok", "unknown"),
])
def test_the_fields_agree_with_each_other(
    report: PolicyReport, facts: dict[str, Any], well: bool, mode: str, state: str, policy: str,
    controller: str,
) -> None:
    """What is degraded says why, in words that the reference documents."""
    document, fine = health_document(report, **{**FINE, **facts})
    assert (fine, document["status"]) == (well, "ok" if well else "degraded")
    assert (document["mode"], document["state"]) == (mode, state)
    assert (document["policy"], document["controller"]) == (policy, controller)
    HealthDocument.model_validate(document)


@pytest.mark.parametrize(("report", "observing", "problems", "words"), [
    (PolicyReport(file="coalmine.yaml"), False, 0, "policy coalmine.yaml"),
    (PolicyReport(file="coalmine.yaml", in_force=False), True, 0,
     "no policy coalmine.yaml: observing"),
    (AT_BOOT, False, 0, "stable only: the policy coalmine.yaml has 1 error and is not in force: "
     "stable is served, nothing can be started"),
    (PolicyReport(file="coalmine.yaml"), False, 2, "stable only: this LiteLLM is not supported"),
])
def test_the_log_of_a_start_names_no_policy_that_was_refused(
    report: PolicyReport, observing: bool, problems: int, words: str
) -> None:
    """Who reads "policy coalmine.yaml" looks elsewhere for the fault."""
    assert standing(report, observing=observing, problems=problems) == words


@pytest.fixture
def watch(mono: Any) -> ControllerWatch:
    """What watches for a controller."""
    return ControllerWatch(mono)


@pytest.fixture
def look(watch: ControllerWatch, state: State, mono: Any) -> Callable[..., str]:
    """Let time pass, let a controller publish or not, and look."""

    def make(seconds: float = 1.0, at: float | None = None, names: tuple[str, ...] = ("chat",),
             of: str = "chat") -> str:
        mono.now += seconds
        if at is not None:
            state.publish(published_name(of), {"at": at})
        watch.look(state, names)
        return watch.status()

    return make


def test_a_controller_that_publishes_lives(look: Callable[..., str]) -> None:
    """Whatever its clock says; the first publication may be a dead one's last."""
    assert look(at=5.0) == "unknown"
    assert [look(at=at) for at in (6.0, 7.0, 3.0)] == ["ok"] * 3
    assert look(NOBODY) == "ok"
    assert look(1.0) == "missing"
    assert look(at=8.0) == "ok"


def test_what_a_dead_controller_left_behind_is_no_life(look: Callable[..., str]) -> None:
    """After the time that another takes to come."""
    assert look(at=5.0) == "unknown"
    assert look(NOBODY) == "missing"


def test_a_controller_that_never_published_is_missing(look: Callable[..., str]) -> None:
    """There are services, and nobody judges them."""
    assert look() == "unknown"
    assert look(NOBODY) == "missing"


def test_one_service_that_is_not_judged_is_no_death_of_the_controller(
    look: Callable[..., str]
) -> None:
    """Its figures stand still, those of the others go on; whichever comes first in the alphabet."""
    both = ("aaa", "chat")
    assert look(at=5.0, names=both) == "unknown"
    assert [look(at=at, names=both) for at in (6.0, 7.0)] == ["ok"] * 2
    assert look(NOBODY, at=8.0, names=both) == "ok"
    assert look(NOBODY, at=9.0, names=both, of="aaa") == "ok"
    assert look(NOBODY + 1, names=both) == "missing"


def test_a_service_that_comes_or_goes_is_no_life(look: Callable[..., str]) -> None:
    """What is published of a new one may be old."""
    assert look(at=5.0, names=("chat",)) == "unknown"
    assert look(NOBODY - 1, at=5.0, names=("chat", "code"), of="code") == "unknown"
    assert look(2.0, names=("code",)) == "missing"


def test_without_services_there_is_nothing_to_know(look: Callable[..., str]) -> None:
    """A policy may name its first service later."""
    assert look(names=()) == "unknown"
    assert look(99.0, names=()) == "unknown"
    assert look(1.0) == "unknown"


def test_an_outage_of_the_state_is_no_death_of_the_controller(
    look: Callable[..., str], watch: ControllerWatch, mono: Any
) -> None:
    """It has its own field; the controller gets its time when the state is back."""
    look(at=5.0)
    look(at=6.0)
    mono.now += 99
    watch.unknown()
    assert look(1.0) == "unknown"
    assert look(at=7.0) == "ok"

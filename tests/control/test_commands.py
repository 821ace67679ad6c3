"""The commands over a real state and a real follower."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coalmine.control.commands import Conflict, NotFound, Probe
from coalmine.control.controller import published_name
from coalmine.release import Slot
from coalmine.rollout import Policy, Promote, Refused, apply
from coalmine.routing import BACK, Phase
from coalmine.state import Entry, State, StateUnreachable

Make = Callable[..., Any]


class Away:
    """A state that can be out of reach; a real one cannot be told when."""

    def __init__(self, state: State) -> None:
        self.real, self.away, self.only_writes = state, False, False

    def __getattr__(self, name: str) -> Any:
        if name != "close" and (self.away or (self.only_writes and name == "swap")):
            raise StateUnreachable("away")
        return getattr(self.real, name)


def asked(call: Any) -> Any:
    return asyncio.run(call)


# asking the engines first -------------------------------------------------------------------------
def test_a_start_asks_both_slots(put: Make, follower: Make, commands: Make, engines: Any) -> None:
    """The candidate's, and the way back."""
    put(phase=Phase.IDLE)
    asked(commands(follower()).check_start("chat", "v2"))
    assert engines.asked == [Slot.GREEN, Slot.BLUE]


def test_a_start_is_refused_when_one_engine_of_the_candidate_is_silent(
    put: Make, follower: Make, commands: Make, engines: Any
) -> None:
    """Half a slot is none; the refusal names the deployment and why."""
    put(phase=Phase.IDLE)
    engines.answers[Slot.GREEN] = [Probe("g1"), Probe("g2", "connection refused")]
    with pytest.raises(Conflict, match="g2: connection refused"):
        asked(commands(follower()).check_start("chat", "v2"))

@pytest.mark.parametrize(("error", "hint"), [
    ("NotFoundError (404)", "litellm_params.model"),
    ("AuthenticationError (401)", "litellm_params.api_key"),
    ("the connection was refused", "start its engine"),
])
def test_what_is_to_be_done_depends_on_what_failed(
    put: Make, follower: Make, commands: Make, engines: Any, error: str, hint: str
) -> None:
    """An engine that runs need not be started."""
    engines.answers[Slot.GREEN] = [Probe("g1", error)]
    with pytest.raises(Conflict, match="v2 does not answer in slot green") as refused:
        asked(commands(follower()).check_start("chat", "v2"))
    assert hint in refused.value.hint


def test_a_start_is_refused_without_a_warm_way_back(
    put: Make, follower: Make, commands: Make, engines: Any
) -> None:
    """One engine of stable that answers is enough."""
    put(phase=Phase.IDLE)
    engines.answers[Slot.BLUE] = [Probe("b1", "down"), Probe("b2")]
    asked(commands(follower()).check_start("chat", "v2"))
    engines.answers[Slot.BLUE] = [Probe("b1", "down")]
    with pytest.raises(Conflict, match="stable v1 does not answer"):
        asked(commands(follower()).check_start("chat", "v2"))


@pytest.mark.parametrize("slot", list(Slot))
def test_a_start_is_refused_for_a_slot_without_deployments(
    put: Make, follower: Make, commands: Make, engines: Any, slot: Slot
) -> None:
    """And says what to write into LiteLLM's model_list."""
    put(phase=Phase.IDLE)
    engines.answers[slot] = []
    with pytest.raises(Conflict, match=f"slot {slot.value}") as refused:
        asked(commands(follower()).check_start("chat", "v2"))
    assert "model_info" in refused.value.hint


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.PAUSED, Phase.BAKING, Phase.ROLLING_BACK])
def test_no_engine_is_asked_for_a_start_that_the_phase_forbids(
    put: Make, follower: Make, commands: Make, engines: Any, phase: Phase
) -> None:
    """A probe takes seconds; the refusal is known."""
    put(phase=phase)
    does = commands(follower())
    asked(does.check_start("chat", "v2"))
    assert engines.asked == []
    with pytest.raises(Refused):
        does.start("chat", "v2", "ann", "", None)


def test_going_back_from_idle_asks_the_previous_slot(
    state: State, put: Make, follower: Make, commands: Make, engines: Any, clock: Any
) -> None:
    """Its engines may be gone by now."""
    service = put(phase=Phase.BAKING)
    assert state.swap(service, apply(service, Promote(at=clock.now, who="ann")),
                      Entry(0, "chat", "ann", "promote", ""))
    does = commands(follower())
    asked(does.check_back("chat", None))
    assert engines.asked == [Slot.BLUE]
    engines.answers[Slot.BLUE] = [Probe("b1", "gone")]
    with pytest.raises(Conflict, match="v1 does not answer"):
        asked(does.check_back("chat", None))


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.IDLE])
def test_a_rollback_of_a_rollout_asks_nobody(
    put: Make, follower: Make, commands: Make, engines: Any, phase: Phase
) -> None:
    """It is never refused for want of readiness of the running stable."""
    put(phase=phase)
    asked(commands(follower()).check_back("chat", None))
    assert engines.asked == []


# the usual way ------------------------------------------------------------------------------------
def test_a_rollout_is_started_paused_resumed_promoted_and_rolled_back(
    state: State, put: Make, follower: Make, commands: Make, counted: Counter[tuple[str, ...]]
) -> None:
    """Each is written with who and why, and applied by this worker when the command returns."""
    put(phase=Phase.IDLE)
    here = follower()
    does = commands(here)
    for done, phase in [
        (does.start("chat", "v2", "ann", "new weights", None), Phase.CANARY),
        (does.pause("chat", "ann", "lunch", None), Phase.PAUSED),
        (does.resume("chat", "ann", "", None), Phase.CANARY),
        (does.promote("chat", "ann", "", None, full=True), Phase.CANARY),
        (does.rollback("chat", "bob", "wrong tone"), Phase.ROLLING_BACK),
    ]:
        assert (done.changed, done.service.phase) == (True, phase)
    assert here.service("chat").phase is Phase.ROLLING_BACK
    entries = state.history("chat")[1:]
    assert [(e.who, e.action) for e in entries] == [
        ("ann", "start"), ("ann", "pause"), ("ann", "resume"), ("ann", "promote"),
        ("bob", "rollback")]
    assert entries[0].reason == "new weights"
    assert counted["coalmine_rollbacks_total", "chat", "manual"] == 1


ALLOWED = {
    (Phase.IDLE, "start"), (Phase.ROLLED_BACK, "start"), (Phase.CANARY, "pause"),
    (Phase.BAKING, "pause"), (Phase.PAUSED, "pause"), (Phase.PAUSED, "resume"),
    (Phase.CANARY, "promote"), (Phase.BAKING, "promote"),
}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("command", ["start", "pause", "resume", "promote"])
def test_what_a_phase_does_not_allow_changes_nothing(
    state: State, put: Make, follower: Make, commands: Make, phase: Phase, command: str
) -> None:
    """It is refused with the phase and a reason."""
    service = put(phase=phase)
    does = commands(follower())
    more = ("v2",) if command == "start" else ()
    call = partial(getattr(does, command), "chat", *more, "ann", "", None)
    if (phase, command) not in ALLOWED:
        with pytest.raises(Refused, match="chat is"):
            call()
        assert state.load()["chat"] == service
        return
    done = call()
    assert done.changed == (done.service.epoch == service.epoch + 1)
    assert done.service == state.load()["chat"]


@pytest.mark.parametrize("command", ["start", "pause", "resume", "promote"])
def test_another_epoch_is_a_conflict(
    state: State, put: Make, follower: Make, commands: Make, command: str
) -> None:
    """Whoever asks has seen an older status."""
    service = put(phase=Phase.CANARY)
    more = ("v2",) if command == "start" else ()
    with pytest.raises(Conflict, match=f"at epoch {service.epoch}, not 99"):
        getattr(commands(follower()), command)("chat", *more, "ann", "", 99)
    assert state.load()["chat"] == service


def test_unknown_services_and_releases(put: Make, follower: Make, commands: Make) -> None:
    """What is known is told."""
    put(phase=Phase.IDLE)
    does = commands(follower())
    with pytest.raises(NotFound, match="'chta' is not known") as unknown:
        does.rollback("chta", "ann", "")
    assert "chat" in unknown.value.hint
    with pytest.raises(NotFound):
        does.start("chta", "v2", "ann", "", None)
    with pytest.raises(Refused, match="'v9' of chat is not known"):
        does.start("chat", "v9", "ann", "", None)
    with pytest.raises(Refused, match="already the stable"):
        does.start("chat", "v1", "ann", "", None)


def test_a_release_is_registered_unless_the_slot_serves(
    state: State, put: Make, follower: Make, commands: Make
) -> None:
    """Registering it again changes nothing."""
    put(phase=Phase.IDLE)
    does = commands(follower())
    assert does.register("chat", "v3", Slot.GREEN, None, "ci").changed
    assert not does.register("chat", "v3", Slot.GREEN, None, "ci").changed
    with pytest.raises(Refused, match="slot blue of chat serves v1"):
        does.register("chat", "v4", Slot.BLUE, None, "ci")
    assert set(state.load()["chat"].releases) == {"v1", "v3"}


# the baseline -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("age", "stable", "kept"), [
    (1.0, "v1", True), (900.0, "v1", True), (901.0, "v1", False), (1.0, "v0", False),
])
def test_a_start_records_stables_own_and_recent_figures(
    state: State, put: Make, follower: Make, commands: Make, clock: Any, age: float, stable: str,
    kept: bool,
) -> None:
    """Figures of another release or of last week are no baseline."""
    put(phase=Phase.IDLE)
    state.publish(published_name("chat"), {
        "at": clock.now - age, "stable": stable, "baseline": {"error_rate": 0.1, "attempts": 50.0}})
    rollout = commands(follower()).start("chat", "v2", "ann", "", None).service.rollout
    assert bool(rollout.baseline) is kept


# rollback -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.PAUSED, Phase.BAKING])
def test_a_rollback_is_applied_first_and_written_later(
    state: State, put: Make, follower: Make, commands: Make, phase: Phase, clock: Any,
    counted: Counter[tuple[str, ...]],
) -> None:
    """With the state out of reach this worker is back at once, and the others when it returns."""
    put(phase=phase)
    away = Away(state)
    here = follower(lambda: away)
    does = commands(here)
    away.away = True
    done = does.rollback("chat", "ann", "bad answers")
    assert (done.changed, done.service.phase) == (True, Phase.ROLLING_BACK)
    assert "out of reach" in done.note
    assert here.plan("chat").phase is Phase.ROLLING_BACK
    assert state.load()["chat"].phase is phase
    clock.now += 5
    away.away = False
    here.refresh()
    written = state.load()["chat"]
    assert written.phase is Phase.ROLLING_BACK
    assert written.rollout.back.at == clock.now - 5
    entry = state.history("chat")[-1]
    assert (entry.who, entry.action, entry.reason) == ("ann", "rollback", "bad answers")
    assert counted["coalmine_rollbacks_total", "chat", "manual"] == 1


def test_asked_again_while_the_state_is_away_it_changes_nothing(
    state: State, put: Make, follower: Make, commands: Make, counted: Counter[tuple[str, ...]]
) -> None:
    """It is idempotent then too, and no error."""
    put(phase=Phase.CANARY)
    away = Away(state)
    does = commands(follower(lambda: away))
    away.away = True
    assert does.rollback("chat", "ann", "").changed
    assert not does.rollback("chat", "ann", "").changed
    assert counted["coalmine_rollbacks_total", "chat", "manual"] == 1


def test_a_rollback_that_only_cannot_be_written_is_not_refused(
    state: State, put: Make, follower: Make, commands: Make
) -> None:
    """The state answers, but takes nothing."""
    put(phase=Phase.CANARY)
    away = Away(state)
    here = follower(lambda: away)
    away.only_writes = True
    assert commands(here).rollback("chat", "ann", "").changed
    here.refresh()
    assert here.service("chat").phase in BACK
    away.only_writes = False
    here.refresh()
    assert state.load()["chat"].phase in BACK


def test_a_rollback_wins_over_a_promotion_that_came_meanwhile(
    state: State, put: Make, follower: Make, commands: Make, clock: Any
) -> None:
    """Those who had the state ended the bake of the same rollout: the person was first."""
    service = put(phase=Phase.BAKING)
    away = Away(state)
    here = follower(lambda: away)
    away.away = True
    commands(here).rollback("chat", "ann", "bad answers")
    promoted = apply(service, Promote(at=clock.now, who="coalmine"))
    assert state.swap(service, promoted, Entry(0, "chat", "coalmine", "promoted", ""))
    away.away = False
    here.refresh()
    assert here.plan("chat").stable == "v1"
    assert state.load()["chat"].stable == "v1"
    here.refresh()
    assert (here.service("chat").stable, here.service("chat").epoch) == ("v1", promoted.epoch + 1)


def test_a_rollback_that_was_written_by_another_is_not_written_again(
    state: State, put: Make, follower: Make, commands: Make
) -> None:
    """Two people press at once, on two workers that do not see each other."""
    put(phase=Phase.CANARY)
    away = Away(state)
    here, there = follower(lambda: away), follower()
    away.away = True
    assert commands(here).rollback("chat", "ann", "").changed
    assert commands(there).rollback("chat", "bob", "").changed
    away.away = False
    here.refresh()
    assert [e.who for e in state.history("chat") if e.action == "rollback"] == ["bob"]


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.ROLLED_BACK])
def test_a_second_rollback_changes_nothing(
    state: State, put: Make, follower: Make, commands: Make, phase: Phase
) -> None:
    """And is no error."""
    service = put(phase=phase)
    done = commands(follower()).rollback("chat", "ann", "again")
    assert (done.changed, state.load()["chat"]) == (False, service)


def test_a_rollback_needs_no_epoch(
    state: State, put: Make, follower: Make, commands: Make, clock: Any
) -> None:
    """A promote that this worker has not seen does not hold it up."""
    service = put(phase=Phase.CANARY)
    here = follower()
    promoted = apply(service, Promote(at=clock.now, who="bob"))
    assert state.swap(service, promoted, Entry(0, "chat", "bob", "promote", ""))
    done = commands(here).rollback("chat", "ann", "")
    assert (done.changed, done.service.phase) == (True, Phase.ROLLING_BACK)
    assert done.service.epoch == promoted.epoch + 1


def test_a_rollback_to_another_release_is_refused_before_anything_is_done(
    state: State, put: Make, follower: Make, commands: Make
) -> None:
    """A rollout goes back to its stable."""
    put(phase=Phase.CANARY)
    here = follower()
    with pytest.raises(Refused, match="not to v2"):
        commands(here).rollback("chat", "ann", "", to="v2")
    assert here.plan("chat").phase is Phase.CANARY


def test_idle_goes_back_to_the_previous_release_once(
    state: State, put: Make, follower: Make, commands: Make, clock: Any
) -> None:
    """A repeated alert must not go on to the release that was just left."""
    service = put(phase=Phase.BAKING)
    promoted = apply(service, Promote(at=clock.now, who="ann"))
    assert state.swap(service, promoted, Entry(0, "chat", "ann", "promote", ""))
    does = commands(follower())
    assert does.rollback("chat", "ann", "").service.stable == "v1"
    again = does.rollback("chat", "ann", "")
    assert (again.changed, again.service.stable) == (False, "v1")


def test_idle_needs_the_state_to_go_back(
    state: State, put: Make, follower: Make, commands: Make, clock: Any
) -> None:
    """There is no rollout whose rollback could be applied first."""
    service = put(phase=Phase.BAKING)
    assert state.swap(service, apply(service, Promote(at=clock.now, who="ann")),
                      Entry(0, "chat", "ann", "promote", ""))
    away = Away(state)
    does = commands(follower(lambda: away))
    away.away = True
    with pytest.raises(StateUnreachable):
        does.rollback("chat", "ann", "")


@pytest.mark.parametrize(("says", "finish"), [("move", False), ("finish", True)])
def test_a_manual_rollback_lets_conversations_finish_if_the_policy_says_so(
    put: Make, follower: Make, commands: Make, policy: Policy, says: str, finish: bool
) -> None:
    """The policy of the rollout, as it was at its start."""
    rules = policy.services["chat"]
    sessions = rules.sessions.model_copy(update={"on_rollback": says})
    other = policy.model_copy(update={"services": {
        "chat": rules.model_copy(update={"sessions": sessions})}})
    put(phase=Phase.IDLE)
    does = commands(follower(), policy=lambda: other)
    does.start("chat", "v2", "ann", "", None)
    assert does.rollback("chat", "ann", "").service.rollout.back.finish is finish


def test_a_change_that_is_always_lost_is_a_conflict(
    state: State, put: Make, follower: Make, commands: Make
) -> None:
    """It does not try for ever."""
    put(phase=Phase.CANARY)

    class Busy(Away):
        def swap(self, *_: Any) -> bool:
            return False

    does = commands(follower(lambda: Busy(state)))
    with pytest.raises(Conflict, match="by others all the time"):
        does.pause("chat", "ann", "", None)
    rolled_back = does.rollback("chat", "ann", "")
    assert (rolled_back.changed, rolled_back.service.phase) == (True, Phase.ROLLING_BACK)

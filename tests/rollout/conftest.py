"""A service to play with, and the events that lead it into each phase."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.release import Slot
from coalmine.rollout import (
    Drained,
    Event,
    Halt,
    Promote,
    RollBack,
    Service,
    ServicePolicy,
    Start,
    apply,
    first_state,
)
from coalmine.routing import Phase

POLICY = ServicePolicy.model_validate(
    {
        "releases": {"v1": {"slot": Slot.BLUE}, "v2": {"slot": Slot.GREEN}},
        "stable": "v1",
        "rollout": {
            "steps": [
                {"weight": 1, "for": "10m"},
                {"weight": 25, "for": "1h", "approve": True},
                {"weight": 100},
            ],
            "bake": "24h",
            "holdback": 2,
        },
    }
)

WAYS: dict[Phase, tuple[type[Event], ...]] = {
    Phase.IDLE: (),
    Phase.CANARY: (Start,),
    Phase.PAUSED: (Start, Halt),
    Phase.BAKING: (Start, Promote, Promote, Promote),
    Phase.ROLLING_BACK: (Start, RollBack),
    Phase.ROLLED_BACK: (Start, RollBack, Drained),
}


@pytest.fixture
def policy() -> ServicePolicy:
    """Three steps (the second waits for approval), a bake of a day, a holdback of 2 %."""
    return POLICY


@pytest.fixture
def after() -> Callable[..., Service]:
    """Return the service after the events given, from idle, one second apart from time 1 on."""

    def play(*events: Event, service: Service | None = None) -> Service:
        now = service or first_state("chat", POLICY, 0.0)
        for one in events:
            now = apply(now, one)
        return now

    return play


@pytest.fixture
def event() -> Callable[..., Event]:
    """Return an event of a kind with sensible fields."""

    def make(kind: type[Event], at: float = 1.0, **fields: Any) -> Event:
        usual: dict[str, Any] = {"Start": {"release": "v2", "policy": POLICY}}.get(
            kind.__name__,
            {"Register": {"release": "v3", "slot": Slot.GREEN}}.get(kind.__name__, {}),
        )
        return kind(at=at, who="ann", **{**usual, **fields})

    return make


@pytest.fixture
def standing(
    after: Callable[..., Service], event: Callable[..., Event]
) -> Callable[[Phase], Service]:
    """Return the service as it stands in a phase."""
    return lambda phase: after(*(event(kind) for kind in WAYS[phase]))

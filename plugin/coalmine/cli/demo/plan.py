"""What the demo does, as data: the policy, the clients' pace and how long each act lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

SERVICE = "chat"
STABLE, CANDIDATE = "v1", "v2"
SLOTS = {STABLE: "blue", CANDIDATE: "green"}
GUARDRAIL = "hard-errors"


@dataclass(frozen=True, slots=True)
class Pace:
    """How the clients behave.

    Attributes:
        seats: conversations at any time; where one ends the next begins.
        turns: how many turns a conversation has, from and to.
        think: seconds between an answer and the next question, from and to.
        tokens: length of a usual answer, from and to.
        long_tokens: length of a long one.
        long_share: share of turns that ask for a long one.
        whole_share: share of turns that do not stream.
    """

    seats: int
    turns: tuple[int, int]
    think: tuple[float, float]
    tokens: tuple[int, int]
    long_tokens: int
    long_share: float
    whole_share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to run the demo; times are seconds.

    Attributes:
        engines: `sim` or `vllm`.
        pace: how the clients behave.
        weight: percent of the first step; the second is 50.
        warm: traffic before the rollout.
        soak: length of the first step, at least: it ends when the guardrail can judge.
        half: how long v2 is well at 50 %.
        after: how long the conversations go on after the rollback.
    """

    engines: str
    pace: Pace
    weight: float
    warm: float
    soak: float
    half: float
    after: float

    def hurried(self, quick: bool) -> Plan:
        """The same in less time, if that is asked for."""
        if not quick:
            return self
        return replace(self, warm=2.0, soak=5.0, half=self.half * 0.6, after=5.0)

    def policy(self) -> dict[str, Any]:
        """Coalmine's policy: short steps, and one guardrail that can judge within seconds."""
        return {
            "state": "sqlite:///coalmine.db",
            "gateway": "demo",
            "services": {
                SERVICE: {
                    "releases": {name: {"slot": slot} for name, slot in SLOTS.items()},
                    "stable": STABLE,
                    "sessions": {"grace": "0s"},
                    "drain_timeout": "30s",
                    "rollout": {
                        "steps": [
                            {"weight": self.weight, "for": self.soak},
                            {"weight": 50, "for": "10m"},
                            {"weight": 100},
                        ],
                        "bake": "1h",
                    },
                    "guardrails": [
                        {
                            "name": GUARDRAIL, "metric": "error_rate", "max": 0.05, "for": "30s",
                            "min_conversations": 5, "action": "rollback", "severity": "critical",
                        }
                    ],
                }
            },
        }


PLANS = {
    "sim": Plan(
        engines="sim",
        pace=Pace(seats=34, turns=(2, 6), think=(0.5, 1.8), tokens=(8, 14), long_tokens=100,
                  long_share=0.08, whole_share=0.2),
        weight=10, warm=4.0, soak=8.0, half=10.0, after=10.0,
    ),
    "vllm": Plan(
        engines="vllm",
        pace=Pace(seats=16, turns=(2, 4), think=(2.0, 5.0), tokens=(16, 24), long_tokens=400,
                  long_share=0.15, whole_share=0.2),
        weight=30, warm=4.0, soak=8.0, half=14.0, after=10.0,
    ),
}
"""The plans by the name of their engines."""

ALIASES = {"simulated": "sim"}


def plan_of(engines: str) -> Plan | None:
    """The plan for these engines, None when there is none."""
    return PLANS.get(ALIASES.get(engines, engines))

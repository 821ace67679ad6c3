"""Simulated vLLM engines with seeded faults that can be switched while they run.

The same engines serve the demo, the tests and drills. `EngineProcess` starts one as a process of
its own, `create_engine` (in `coalmine.sim.engine`) makes the ASGI application, `Faults` say what
goes wrong.
"""

from __future__ import annotations

from coalmine.sim.faults import HEALTHY, Decision, FaultPlan, Faults, Outcome, outcome
from coalmine.sim.process import EngineProcess

__all__ = ["HEALTHY", "Decision", "EngineProcess", "FaultPlan", "Faults", "Outcome", "outcome"]

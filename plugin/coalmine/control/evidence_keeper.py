"""Keeps a rollout's evidence in the shared state, so that another controller goes on with it.

The state keeps the workers' batches for a quarter of an hour only; the evidence is of the whole
rollout. So it is kept once a minute, with the number of each worker's last batch that is in it: a
new controller takes it and adds the later batches, each once.
"""

from __future__ import annotations

import logging
from typing import Any

from coalmine.rollout.trial import Trial
from coalmine.state import Batch, State

log = logging.getLogger("coalmine.controller")

EVERY = 60.0
"""Seconds between two keepings; far less than the state keeps batches."""

WORKERS = 10_000
"""Workers whose last number is remembered at most; each start of a process is a new one."""


def kept_name(service: str) -> str:
    """Name under which a service's evidence is published."""
    return f"evidence/{service}"


class EvidenceKeeper:
    """The evidence of all services of one controller."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}
        self._known: dict[str, dict[str, int]] = {}
        self._kept: dict[str, float] = {}

    def restore(self, state: State, service: str, trial: Trial) -> bool:
        """Let a trial go on with what was kept of its rollout; False when that cannot be used."""
        found = state.published(kept_name(service))
        if found is None or found.get("rollout") != trial.id:
            return True
        try:
            trial.restore(found["trial"])
            self._known[service] = {str(worker): int(number)
                                    for worker, number in found["batches"].items()}
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            log.exception("%s: the evidence that was kept cannot be read; it begins anew", service)
            trial.forget_evidence()
            self._known.pop(service, None)
            return False
        for worker, number in self._known[service].items():
            self._read[worker] = max(number, self._read.get(worker, 0))
        return True

    def take_in(self, batch: Batch) -> None:
        """A batch is being read."""
        self._read[batch.worker] = max(batch.number, self._read.get(batch.worker, 0))
        while len(self._read) > WORKERS:
            del self._read[next(iter(self._read))]

    def is_new(self, service: str, batch: Batch) -> bool:
        """Whether the evidence of a service, as it was kept, does not hold this batch yet."""
        return batch.number > self._known.get(service, {}).get(batch.worker, 0)

    def keep(self, state: State, service: str, trial: Trial | None, now: float, *,
             at_once: bool = False) -> None:
        """Keep a trial's evidence, if that is due."""
        if trial is None or (not at_once and 0 <= now - self._kept.get(service, 0.0) < EVERY):
            return
        document: dict[str, Any] = {"rollout": trial.id, "batches": self._read,
                                    "trial": trial.to_document()}
        state.publish(kept_name(service), document)
        self._kept[service] = now

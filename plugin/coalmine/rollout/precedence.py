"""Which of two views of one service counts: what a worker applies, or what the state says."""

from __future__ import annotations

from coalmine.rollout.service import Service
from coalmine.routing import BACK, Phase


def is_behind(theirs: Service, ours: Service) -> bool:
    """Whether `theirs` has lost what `ours` knows: an older epoch never replaces a newer one, and
    on a tie the one that is on its way back counts."""
    if theirs.epoch != ours.epoch:
        return theirs.epoch < ours.epoch
    return ours.phase in BACK and theirs.phase not in BACK


def never_began(theirs: Service, ours: Service) -> bool:
    """Whether `theirs` has lost even the start of the rollout that `ours` is in."""
    return theirs.epoch < ours.epoch and theirs.rollouts < ours.rollouts


def is_overruled(theirs: Service, rolled_back: Service) -> bool:
    """Whether a rollback that was not written yet wins over `theirs`: over anything of the same
    rollout, whatever the epochs."""
    ours = rolled_back.rollout
    if ours is None:
        return False
    if theirs.rollout is not None:
        return theirs.rollout.id == ours.id and theirs.phase not in BACK
    # The same rollout was promoted meanwhile by those who did not know.
    return (
        theirs.phase is Phase.IDLE
        and theirs.rollouts == rolled_back.rollouts
        and theirs.stable == rolled_back.candidate
        and theirs.previous == rolled_back.stable
    )

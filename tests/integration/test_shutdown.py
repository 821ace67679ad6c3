"""What a gateway leaves behind that is told to stop: nothing but its state."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .engines import Engines
from .gateway import Gateway, eventually
from .worlds import Svc, world

SERVICES = [Svc("stops")]
MEMORY = Path("/dev/shm")


def ours() -> set[Path]:
    """What is ours in the places that all processes share: sockets, folders, files."""
    tops = [*MEMORY.glob("coalmine-*"), *Path("/tmp").glob("coalmine-*")]
    return {*tops, *(path for top in tops if top.is_dir() for path in top.rglob("*"))}


@pytest.mark.parametrize(("workers", "observe", "everybody"), [
    pytest.param(1, False, False, id="one worker"),
    pytest.param(2, False, True, id="two workers, told each"),
    pytest.param(1, True, True, id="one worker that observes"),
    pytest.param(2, True, False, id="two workers that observe, told by their parent"),
])
def test_a_gateway_that_is_told_to_stop_leaves_nothing_behind(
    engines: Engines, tmp_path: Path, workers: int, observe: bool, everybody: bool
) -> None:
    """No sockets, no folders, no outbox; what it had counted is in the state."""
    before = ours()
    gateway = Gateway(world("stops", SERVICES, engines, workers=workers, observe=observe),
                      tmp_path / "stops", Path(__file__).parents[2] / "plugin").start().ready()
    try:
        if not observe:
            gateway.command("stops", "start", release="v2")
        for n in range(5):
            assert gateway.client().ask("chat", "stops", "Hi", session=f"s{n}").good
        eventually(lambda: gateway.metrics()["coalmine_attempts_total"])
        if everybody:
            gateway.signal(signal.SIGTERM)
        else:
            os.kill(gateway.process.pid, signal.SIGTERM)
        code = gateway.process.wait(20)
    finally:
        gateway.stop()
    inside = {path.relative_to(tmp_path) for path in (tmp_path / "stops" / "tmp").rglob("*")}
    assert sorted(map(str, inside | (ours() - before))) == [], code

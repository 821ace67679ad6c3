"""Another process that uses the same state, driven by pickles over its pipes.

A program, not a module: conftest.py starts it and :class:`Peer` there talks to it.
"""

from __future__ import annotations

import pickle
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from coalmine.state import StateError, open_state


class Served:
    """What the parent may call."""

    def __init__(self) -> None:
        self.state: Any = None
        self.rings: Any = None

    def open(self, url: str, base: Path, **options: Any) -> None:
        """Open the state."""
        self.state = open_state(url, base=base, **options)

    def close(self) -> None:
        """Close what is open."""
        if self.rings is not None:
            self.rings.close()
        if self.state is not None:
            self.state.close()
        self.state = self.rings = None

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call one method of the state."""
        return getattr(self.state, method)(*args, **kwargs)

    def calls(self, at: float, calls: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Call several from the moment `at` of the monotonic clock on, for races."""
        while time.monotonic() < at:
            pass
        return [getattr(self.state, method)(*args) for method, args in calls]

    def forever(self, method: str, *args: Any) -> None:
        """Call one method with a growing last argument until the process is killed."""
        number = 0
        while True:
            number += 1
            getattr(self.state, method)(*args, number.to_bytes(8, "big"), number % 10_000)

    def arm(self, name: str) -> None:
        """Get a bell that hears from now on."""
        self.rings = self.state.bell(name)
        while self.rings.wait(0.05):
            pass

    def wait(self, timeout: float) -> tuple[bool, float]:
        """Wait for the bell; whether it rang, and when by the monotonic clock."""
        return self.rings.wait(timeout), time.monotonic()

    def follow(self, service: str, epoch: int, timeout: float) -> float:
        """Wait by bell and load for an epoch; when it was seen, by the monotonic clock."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.rings.wait(0.5)
            if self.state.load()[service].epoch >= epoch:
                return time.monotonic()
        raise TimeoutError(f"epoch {epoch} was not seen")

    def generations(self, until: int, timeout: float) -> int:
        """Read the generation, and nothing else, until it is another one."""
        end = time.monotonic() + timeout
        while self.state.generation() == until and time.monotonic() < end:
            time.sleep(0.001)
        return int(self.state.generation())

    def limit_file_size(self, size: int) -> None:
        """No file may grow beyond `size` bytes, as on a full disk."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def main() -> None:
    """Serve calls until the parent closes the pipe."""
    served = Served()
    while True:
        try:
            name, args, kwargs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, getattr(served, name)(*args, **kwargs))
        except (StateError, OSError, TimeoutError) as error:
            answer = (False, error)
        sys.stdout.buffer.write(pickle.dumps(answer))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

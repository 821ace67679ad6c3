"""Ends a vLLM server with the process that started it. Standard library only.

    python vllm_guard.py SESSION

`VllmProcess` starts this beside each server and holds the other end of its standard input. When
that closes without a `done`, the starter died, and every process of the session is killed: an
orphaned engine keeps 2.5 GB. (vLLM's API server leaves its engine behind when it is killed.)
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DONE = b"done"


def session_members(session: int) -> Iterator[tuple[int, str]]:
    """Process id and title of every live process of a session (from /proc)."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if after_name[0] not in "ZX" and int(after_name[3]) == session:
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(folder.name), title.decode(errors="replace").strip()


def kill_session(session: int) -> None:
    """SIGKILL by the ids of the live members: the session's own id may have been reused."""
    for pid, _ in list(session_members(session)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main(session: int) -> int:
    """Wait for the word or the end of standard input."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are the starter's business
    if not sys.stdin.buffer.read().startswith(DONE):
        kill_session(session)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))

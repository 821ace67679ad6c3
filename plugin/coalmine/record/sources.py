"""Where events are read from: a file, a folder of recorded files in one stream, or standard input.

A folder's files are merged by time. Few are open at once: a file is opened when its first event's
time has come. What cannot be read as an event is handed on as it is, for the reader to count.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, BinaryIO

from coalmine.record.json_lines import LONGEST, parse
from coalmine.record.order import LATEST
from coalmine.release import CoalmineError

STDIN = "-"
"""In place of a path: standard input."""

Line = bytes | dict[str, Any]
"""A line as it is, or the object that was parsed from it."""


class EventsUnreadable(CoalmineError):
    """A source of events cannot be read, or not to its end."""

    code = "events_unreadable"


def read_source(source: str | Path, stdin: BinaryIO | None = None) -> Iterator[Line]:
    """Yield the lines of a source, as :class:`coalmine.record.events.Reader` takes them.

    Args:
        source: a file (a name that ends in ``.gz`` is unpacked), a folder with such files
            (``*.jsonl``, ``*.jsonl.gz``), or ``-``.
        stdin: standard input; this process's by default.

    Raises:
        EventsUnreadable: it is not there, may not be read, or is no whole ``.gz``; there is no such
            file in the folder.
    """
    if str(source) == STDIN:
        yield from _lines(stdin if stdin is not None else sys.stdin.buffer, "standard input")
    elif Path(source).is_dir():
        yield from _merged(Path(source))
    else:
        yield from _of_file(Path(source))


def _lines(file: BinaryIO, name: object) -> Iterator[bytes]:
    """Yield lines; of one that is longer than an event can be, its pieces."""
    try:
        yield from iter(partial(file.readline, LONGEST + 1), b"")
    except (OSError, EOFError, zlib.error) as error:
        raise EventsUnreadable(f"{name} cannot be read to its end: {error}") from error


def _of_file(path: Path) -> Iterator[bytes]:
    with ExitStack() as opened:
        try:
            file: Any = opened.enter_context(path.open("rb"))
        except OSError as error:
            raise EventsUnreadable(
                f"{path} cannot be read: {error.strerror}", "give a file, a folder, or - for stdin"
            ) from error
        if path.suffix == ".gz":
            unpacked = opened.enter_context(gzip.open(file))
            file = opened.enter_context(io.BufferedReader(unpacked))
        yield from _lines(file, path)


def _merged(folder: Path) -> Iterator[Line]:
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not files:
        raise EventsUnreadable(f"there are no *.jsonl files in {folder}")
    unopened = sorted(((_begins(path), path) for path in files), reverse=True)
    heads: list[tuple[float, int, Line, Iterator[tuple[float, Line]]]] = []
    opened = 0
    while heads or unopened:
        while unopened and (not heads or unopened[-1][0] <= heads[0][0]):
            events = _timed(unopened.pop()[1])
            opened += 1
            _push(heads, opened, events)
        if heads:
            _, number, line, events = heappop(heads)
            yield line
            _push(heads, number, events)


def _push(heads: list[Any], number: int, events: Iterator[tuple[float, Line]]) -> None:
    """Put a file's next event among the heads of all files; the number orders what is equal."""
    for at, line in events:
        heappush(heads, (at, number, line, events))
        return


def _begins(path: Path) -> float:
    """Return the time of a file's first event; before all others where it has none."""
    return next((at for at, _ in _timed(path) if at > float("-inf")), float("-inf"))


def _timed(path: Path) -> Iterator[tuple[float, Line]]:
    """Yield each line and its place in time: its own, or that of the last event before it.

    The latter where it has no time or a late one, or one that the next event does not bear out: a
    wrong clock in one line must not hold up the rest of its file.
    """
    place = float("-inf")
    before: tuple[float, Line] | None = None
    for line in _of_file(path):
        event = parse(line)
        at: Any = event.get("t") if event is not None else None
        if event is None or type(at) not in (float, int) or not max(0, place) <= at <= LATEST:
            yield place, line if event is None else event
            continue
        if before is not None:
            if before[0] <= at:
                place = before[0]
            yield place, before[1]
        before = float(at), event
    if before is not None:
        yield before

"""Where events are read from: files, packed ones, folders in one stream, standard input."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from coalmine.record import sources as module
from coalmine.record.events import Reader
from coalmine.record.json_lines import LONGEST
from coalmine.record.sources import EventsUnreadable, read_source


def lines(*times: Any) -> bytes:
    """Attempts that ended then, a conversation each."""
    return b"".join(json.dumps({
        "t": t, "conversation": f"c{t}", "outcome": "ok", "release": "v1", "arm": "stable",
    }).encode() + b"\n" for t in times)


def times(source: Any, **stdin: Any) -> list[float]:
    """What a reader makes of a source."""
    return [event.at for event in Reader("chat").events(read_source(source, **stdin))]


def test_a_file_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(lines(1, 2, 3))
    assert times(tmp_path / "events.jsonl") == [1, 2, 3]
    assert times(str(tmp_path / "events.jsonl")) == [1, 2, 3]


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(lines(1, 2)))
    assert times(tmp_path / "events.jsonl.gz") == [1, 2]


def test_standard_input_is_read_to_its_end() -> None:
    assert times("-", stdin=io.BytesIO(lines(1, 2))) == [1, 2]


def test_a_file_keeps_its_own_order_so_that_faults_are_seen(tmp_path: Path) -> None:
    """Sorting would hide that somebody's clock or merge is wrong."""
    (tmp_path / "events.jsonl").write_bytes(lines(1, 3, 2))
    reader = Reader("chat")
    assert len(list(reader.events(read_source(tmp_path / "events.jsonl")))) == 2
    assert reader.faults == {"out_of_order": 1}


def test_a_folder_is_one_stream_in_time_order(tmp_path: Path) -> None:
    """Plain and packed files of several workers; what is no file of events is left alone."""
    rng = random.Random(5)
    moments = list(range(300))
    of_worker: dict[int, list[int]] = {n: [] for n in range(5)}
    for moment in moments:
        of_worker[rng.randrange(5)].append(moment)
    for n, its in of_worker.items():
        for part, begin in enumerate(range(0, len(its), 20)):
            text = lines(*its[begin:begin + 20])
            name = tmp_path / f"w{n}-{part}.jsonl"
            if n % 2:
                name.with_suffix(".jsonl.gz").write_bytes(gzip.compress(text))
            else:
                name.write_bytes(text)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "notes.txt").write_text("no event")
    assert times(tmp_path) == moments


def test_few_files_of_a_folder_are_open_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week of many workers is hundreds of them."""
    for n in range(50):
        (tmp_path / f"{n:02}.jsonl").write_bytes(lines(*range(10 * n, 10 * n + 10)))
    open_now, most = [0], [0]
    real = module._timed

    def counted(path: Path) -> Any:
        open_now[0] += 1
        most[0] = max(most[0], open_now[0])
        try:
            yield from real(path)
        finally:
            open_now[0] -= 1

    monkeypatch.setattr(module, "_timed", counted)
    assert times(tmp_path) == list(range(500))
    assert most[0] <= 3


ODD = [
    b"no event\n", b"\xff\n", b"[1]\n", b'{"t": "soon"}\n', b'{"t": NaN}\n', b'{"t": true}\n',
    b'{"t": -1}\n', lines(1.7e12), b'{"t": ' + b"1" * 3 * LONGEST + b"}\n",
]
LATE_OR_EARLY = [lines(60 * 86400), lines(0)]  # as the first time of a file it can be right


@pytest.mark.parametrize(("odd", "place"), [
    (odd, place) for place in (0, 1, 5, 10) for odd in (ODD + LATE_OR_EARLY if place else ODD)])
def test_an_odd_line_in_a_folder_is_one_fault_and_holds_up_nothing(
    tmp_path: Path, odd: bytes, place: int
) -> None:
    """It is handed on where it stands, for the reader to count."""
    mine = [lines(t) for t in range(100, 120, 2)]
    mine.insert(place, odd)
    (tmp_path / "a.jsonl").write_bytes(b"".join(mine))
    (tmp_path / "b.jsonl").write_bytes(lines(*range(101, 121, 2)))
    reader = Reader("chat")
    found = [event.at for event in reader.events(read_source(tmp_path))]
    assert found == list(range(100, 120))
    assert sum(reader.faults.values()) >= 1


def test_a_line_without_end_is_not_read_whole(tmp_path: Path) -> None:
    """It comes in pieces, none of which is an event."""
    (tmp_path / "events.jsonl").write_bytes(b"x" * (5 * LONGEST) + b"\n" + lines(1))
    pieces = list(read_source(tmp_path / "events.jsonl"))
    assert max(len(piece) for piece in pieces) <= LONGEST + 1
    assert times(tmp_path / "events.jsonl") == [1]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EventsUnreadable, match=r"nothing\.jsonl cannot be read: No such file"):
        times(tmp_path / "nothing.jsonl")
    with pytest.raises(EventsUnreadable, match=r"no \*\.jsonl files in"):
        times(tmp_path)


@pytest.mark.parametrize("cut", [
    lambda packed: packed[:-20], lambda packed: b"no gzip" + packed,
    lambda packed: packed[:20] + b"\0" * 20 + packed[40:],
], ids=["cut off", "not packed", "broken"])
def test_a_packed_file_that_is_broken_is_said(tmp_path: Path, cut: Any) -> None:
    """After what could be read of it."""
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(cut(gzip.compress(lines(*range(1000)))))
    with pytest.raises(EventsUnreadable, match="cannot be read to its end"):
        times(path)

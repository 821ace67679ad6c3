"""Rows as a few packed strings."""

from __future__ import annotations

import json

import pytest

from coalmine.guardrails.chunks import ROWS, pack, unpack


@pytest.mark.parametrize("count", [0, 1, ROWS, ROWS + 1, 3 * ROWS])
def test_rows_come_back_in_their_order(count: int) -> None:
    """By way of JSON, in chunks."""
    rows = [[f"c{number}", number, 0.5, None] for number in range(count)]
    packed = json.loads(json.dumps(pack(iter(rows))))
    assert len(packed) == -(-count // ROWS)
    assert list(unpack(packed)) == rows


@pytest.mark.parametrize("packed", ["x", "AAAA", "", None, 7])
def test_what_is_no_chunk_is_refused(packed: object) -> None:
    """A take-over then begins anew."""
    with pytest.raises(ValueError, match="no packed rows"):
        list(unpack([packed]))  # type: ignore[list-item]

"""Lines of JSON: read the same with orjson and without it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.record import json_lines
from coalmine.record.json_lines import LONGEST, parse, to_line


@pytest.fixture(params=["orjson", "json"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With orjson, and on a machine that has none."""
    if request.param == "json":
        monkeypatch.setattr(json_lines, "orjson", None)
    else:
        assert json_lines.orjson is not None
    return request.param


@pytest.mark.parametrize("line", [
    "", " \n", "{", "[]", "5", "null", '"t"', '{"t": 1} x', "{'t': 1}", b"\xff", b'{"t": "\xff"}',
    b"\x00", "[" * 50_000, '{"a":' * 5000 + "1" + "}" * 5000, '{"a": ' + "1" * 5000 + "}",
    '{"a": "' + "x" * LONGEST + '"}',
])
def test_what_is_no_object_is_none(either: str, line: str | bytes) -> None:
    """Whatever is wrong with it, and however deep or long it is."""
    assert parse(line) is None


@pytest.mark.parametrize(("line", "found"), [
    ('{"t": 1.5}\n', {"t": 1.5}), (b'{"t": 1}', {"t": 1}), (b'\xef\xbb\xbf{"t": 1}', {"t": 1}),
    ('{"t": Infinity}', {"t": float("inf")}), ('{"t": -Infinity}', {"t": float("-inf")}),
    ('{"t": 1e999}', {"t": float("inf")}), ('{"t": 1, "t": 2}', {"t": 2}),
    ('{"t": "\\ud800"}', {"t": "\ud800"}), ('{"t": "ü"}'.encode(), {"t": "ü"}),
])
def test_an_object_is_read_the_same(either: str, line: str | bytes, found: Any) -> None:
    """Also what is no JSON but what many write: NaN and its like."""
    assert parse(line) == found


def test_nan_is_a_number_that_is_none(either: str) -> None:
    """It equals nothing."""
    found = parse(b'{"t": NaN}')
    assert found is not None
    assert found["t"] != found["t"]


def test_a_document_is_one_line(either: str) -> None:
    """And comes back."""
    document = {"t": 1.5, "conversation": "ü", "turn": 0, "closed": True}
    line = to_line(document)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse(line) == json.loads(line) == document


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_line_raises(line: str | bytes) -> None:
    """It is an object or nothing."""
    found = parse(line)
    assert found is None or isinstance(found, dict)

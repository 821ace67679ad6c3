"""Every error of the drivers has a word of ours."""

from __future__ import annotations

import importlib
import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from coalmine.state import StateBusy, StateCorrupt, StateError, StateRefused, StateUnreachable
from coalmine.state.sqlite_errors import BY_CLASS, Trouble, translate, trouble


def _walk(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from _walk(child)


def test_each_error_of_sqlite_is_in_the_table() -> None:
    known = {error.__name__ for error in _walk(sqlite3.Error)}
    assert known == set(BY_CLASS)


@pytest.mark.parametrize("name", sorted(BY_CLASS))
def test_each_error_of_sqlite_becomes_one_of_ours(name: str) -> None:
    error = getattr(sqlite3, name)("no such thing")
    ours = translate(error, Path("/state.db"))
    assert type(ours) in (StateUnreachable, StateRefused, StateCorrupt)
    assert "/state.db" in str(ours)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("database is locked", Trouble.BUSY),
        ("database table is locked", Trouble.BUSY),
        ("locking protocol", Trouble.BUSY),
        ("attempt to write a readonly database", Trouble.READ_ONLY),
        ("unable to open database file", Trouble.READ_ONLY),
        ("disk I/O error", Trouble.IO),
        ("database disk image is malformed", Trouble.CORRUPT),
        ("file is not a database", Trouble.CORRUPT),
        ("database or disk is full", Trouble.FULL),
    ],
)
def test_an_error_without_a_code_is_known_by_its_message(message: str, meaning: Trouble) -> None:
    assert trouble(sqlite3.OperationalError(message)) is meaning


def test_each_error_of_the_redis_client_is_in_the_table() -> None:
    redis = pytest.importorskip("redis")
    for module in ("asyncio", "cluster", "sentinel"):
        importlib.import_module(f"redis.{module}")  # they define errors of their own

    from coalmine.state.redis_errors import TABLE

    known = {error.__name__ for error in _walk(redis.RedisError)}
    assert known <= set(TABLE), "name the new ones in redis_errors.TABLE"


def test_each_error_of_the_redis_client_becomes_one_of_ours() -> None:
    redis = pytest.importorskip("redis")
    from coalmine.state.redis_errors import lost, translate

    for kind in _walk(redis.RedisError):
        error = kind.__new__(kind)
        ours = translate(error)
        assert isinstance(ours, StateError)
        assert ours.message
        assert not lost(error) or isinstance(ours, StateUnreachable)


def test_our_errors_survive_a_pickle() -> None:
    for kind in (StateUnreachable, StateBusy, StateRefused, StateCorrupt):
        error = pickle.loads(pickle.dumps(kind("what", "do")))
        assert (type(error), error.message) == (kind, "what")

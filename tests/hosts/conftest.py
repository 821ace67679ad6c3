"""Scenarios run on hosts of the lab while other tests run."""

from __future__ import annotations

import os

import pytest

from .scenarios import ALL, Scenarios, possible

RUNS = pytest.StashKey[Scenarios]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what was asked for; what goes wrong is said by its test."""
    asked = {item.callspec.params["scenario"] for item in session.items
             if isinstance(item, pytest.Function) and item.path.name == "test_molecule.py"}
    asked &= possible(os.environ.get("COALMINE_WITHOUT", ""))
    if asked and not session.config.option.collectonly:
        session.config.stash[RUNS] = Scenarios(name for name in ALL if name in asked)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with the tests."""
    if runs := config.stash.get(RUNS, None):
        runs.end()


@pytest.fixture
def scenarios(request: pytest.FixtureRequest) -> Scenarios:
    """What was begun."""
    return request.config.stash[RUNS]

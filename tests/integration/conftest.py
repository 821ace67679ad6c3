"""Processes that the tests share, and the proxies' logs in the reports of failing tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coalmine.sim

from .engines import Engines
from .gateway import Gateway, Setup

PLUGIN = Path(coalmine.sim.__file__).resolve().parents[2]
STARTED: list[tuple[Gateway, int]] = []
"""All proxies that live, and how much each had written when the current test began."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest our marker."""
    config.addinivalue_line("markers", "integration: starts real processes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is an integration test."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Attach what the proxies wrote during a test to its failure."""
    report = yield
    if report.failed and call.when in ("setup", "call"):
        for gateway, position in STARTED:
            said = gateway.log_since(position)
            if said.strip():
                report.sections.append((f"log of the proxy {gateway.setup.name}", said[-15_000:]))
    return report


@pytest.fixture(autouse=True)
def _positions() -> None:
    STARTED[:] = [(gateway, gateway.log_position()) for gateway, _ in STARTED]


@pytest.fixture(scope="module")
def engines(request: pytest.FixtureRequest) -> Iterator[Engines]:
    """The two engines, serving the deployments of the module's ``SERVICES`` and ``OTHERS``."""
    names = [name for service in request.module.SERVICES for name in service.ids()]
    found = Engines([*names, *getattr(request.module, "OTHERS", ())]).start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Gateway]]]:
    """Start proxies, or return those that run already; several start side by side."""
    running: dict[Setup, Gateway] = {}

    def started(*setups: Setup) -> list[Gateway]:
        for one in setups:
            if one not in running:
                place = tmp_path_factory.mktemp(one.name)
                running[one] = Gateway(one, place, PLUGIN).start()
                STARTED.append((running[one], 0))
        return [running[one].ready() for one in setups]

    yield started
    for gateway in running.values():
        gateway.signal()
    for gateway in running.values():
        gateway.stop()
    STARTED.clear()

"""Processes that the tests share, and the proxies' logs in the reports of failing tests."""

from __future__ import annotations

from collections.abc import Iterator
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


class Starter:
    """Starts proxies, or returns those that run already."""

    def __init__(self, place: pytest.TempPathFactory) -> None:
        self._place = place
        self._running: dict[Setup, Gateway] = {}

    def begin(self, *setups: Setup) -> None:
        """Start them side by side, and go on meanwhile."""
        for one in setups:
            if one not in self._running:
                gateway = Gateway(one, self._place.mktemp(one.name), PLUGIN).start()
                self._running[one] = gateway
                STARTED.append((gateway, 0))

    def of(self, setup: Setup) -> Gateway:
        """A proxy that was begun."""
        return self._running[setup]

    def __call__(self, *setups: Setup) -> list[Gateway]:
        """Start them side by side, and wait until all of them serve."""
        self.begin(*setups)
        return [self._running[one].ready() for one in setups]

    def stop(self) -> None:
        """End all."""
        for gateway in self._running.values():
            gateway.signal()
        for gateway in self._running.values():
            gateway.stop()
        STARTED[:] = [(one, at) for one, at in STARTED if one not in self._running.values()]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts proxies that live as long as the module's tests."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.stop()

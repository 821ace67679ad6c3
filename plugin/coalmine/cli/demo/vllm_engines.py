"""Two real vLLM servers on this machine, as the engines of the demo."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import coalmine
from coalmine.cli.demo.engines import RELEASES, SEEDS, Count, DemoError, Say, free_port
from coalmine.cli.demo.plan import CANDIDATE, SLOTS, STABLE

ENVIRONMENT = ".venv-vllm"


class VllmEngines:
    """Two real vLLM servers with tiny models.

    Args:
        folder: where models and logs go.
    """

    spoiling = "v2's engine is killed behind its API server"

    def __init__(self, folder: Path) -> None:
        self.urls: dict[str, str] = {}
        self._folder = folder
        self._servers: dict[str, Any] = {}
        self._before: int | None = None

    def start(self, say: Say) -> None:
        """Make the models and start both servers at once."""
        from coalmine.sim.vllm_process import VllmError, VllmProcess, make_model

        environment = _environment()
        try:
            for release in RELEASES:
                say(f"{SLOTS[release]}: making the model of {release}")
                model = make_model(environment, self._folder / release, seed=SEEDS[release])
                self._servers[release] = VllmProcess(
                    environment, model, name=SLOTS[release], served_names=[f"chat-{release}"],
                    port=free_port(), progress=say,
                )
            say("starting two vLLM servers, which takes a minute on two cores")
            for server in self._servers.values():
                server.start()
            for release, server in self._servers.items():
                server.wait_until_ready()
                self.urls[release] = f"{server.url}/v1"
        except VllmError as error:
            raise DemoError(str(error)) from error

    def mark(self) -> None:
        """Remember how many requests blue had answered."""
        self._before = self._answered(STABLE)

    def spoil(self) -> None:
        """Kill v2's engine; its API server breaks the open streams and ends."""
        self._servers[CANDIDATE].kill_engine_core()

    def has_failed(self) -> bool:
        """An engine that is dead fails from that moment on."""
        return True

    def release_of(self, text: str) -> str | None:
        """Whose words the answer is made of."""
        from coalmine.sim.vllm_model import seeds_of

        authors = seeds_of(text)
        known = [release for release, seed in SEEDS.items() if seed in authors]
        return known[0] if len(authors) == 1 and known else None

    def counts(self) -> list[Count]:
        """What blue answered by its own metrics, without the start's probe; green's are gone.

        vLLM counts what it has finished: an attempt that never reached it is not among that.
        """
        blue = Count(STABLE, "answers", None, "its metrics could not be read")
        now, before = self._answered(STABLE), self._before
        if now is not None and before is not None:
            blue = Count(STABLE, "answers", now - before - 1)
        return [
            blue,
            Count(CANDIDATE, "answers", None, "its counters died with its engine"),
        ]

    def stop(self) -> None:
        """End both, with all their processes."""
        for server in self._servers.values():
            server.stop(drain=5.0)

    def _answered(self, release: str) -> int | None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError, ValueError):
            with opener.open(f"{self._servers[release].url}/metrics", timeout=10) as reply:
                lines = reply.read().decode().splitlines()
            found = [line for line in lines if line.startswith("vllm:request_success_total{")]
            return int(sum(float(line.rpartition(" ")[2]) for line in found))
        return None


def _environment() -> Path:
    """Where vLLM is installed: in the working directory or the repository's root."""
    from coalmine.sim.vllm_install import is_installed

    places = (Path.cwd(), Path(coalmine.__file__).resolve().parents[2])
    for place in places:
        if is_installed(place / ENVIRONMENT):
            return place / ENVIRONMENT
    raise DemoError(
        f"there is no real vLLM in {places[0] / ENVIRONMENT}: `make demo ENGINES=vllm` installs it"
    )

"""The set-up: a temporary folder, two engines and a proxy; and its end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import yaml

from coalmine.cli.demo.engines import Engines, Say, SimEngines
from coalmine.cli.demo.plan import CANDIDATE, SERVICE, SLOTS, STABLE, Plan
from coalmine.cli.demo.proxy import KEY_VARIABLE, WORKERS, Proxy
from coalmine.cli.demo.vllm_engines import VllmEngines


class Stage:
    """Everything that runs for the demo.

    Args:
        plan: what is going to be played.

    Attributes:
        failed: whether what was written is worth keeping: yes, until all has gone well.
    """

    def __init__(self, plan: Plan) -> None:
        self.failed = True
        self.folder = Path(tempfile.mkdtemp(prefix="coalmine-demo-"))
        self.engines: Engines = (
            VllmEngines(self.folder) if plan.engines == "vllm" else SimEngines(plan.pace)
        )
        self.proxy = Proxy(
            self.folder, self.folder / "config.yaml", self.folder / "coalmine.yaml"
        )
        self._plan = plan

    def set_up(self, say: Say) -> None:
        """Start engines and proxy; returns when all of them are ready.

        Raises:
            DemoError: when one of them does not start.
        """
        self.engines.start(say)
        self._write("coalmine.yaml", self._plan.policy())
        self._write("config.yaml", self._litellm())
        self.proxy.start()
        say(f"proxy: LiteLLM with {WORKERS} workers and Coalmine starts at {self.proxy.url}")
        self.proxy.wait_until_ready(SERVICE, say)
        self.engines.mark()
        say("proxy: ready")

    def take_down(self) -> None:
        """End everything; the folder is kept when something went wrong."""
        with ExitStack() as stack:
            if not (self.failed and any(self.folder.iterdir())):
                stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(self.engines.stop)
            stack.callback(self.proxy.stop)

    def _write(self, name: str, content: object) -> None:
        text = yaml.safe_dump(content, sort_keys=False)
        (self.folder / name).write_text(text, encoding="utf-8")

    def _litellm(self) -> dict[str, object]:
        """LiteLLM's configuration: each slot in a group of its own, and the callback."""
        groups = {STABLE: SERVICE, CANDIDATE: f"{SERVICE}.{SLOTS[CANDIDATE]}"}
        return {
            "model_list": [
                {
                    "model_name": group,
                    "litellm_params": {
                        "model": f"openai/chat-{release}",
                        "api_base": self.engines.urls[release],
                        "api_key": "none",
                    },
                    "model_info": {
                        "id": f"{SLOTS[release]}-1", "service": SERVICE, "slot": SLOTS[release],
                    },
                }
                for release, group in groups.items()
            ],
            "litellm_settings": {"callbacks": ["coalmine.plugin"]},
            "router_settings": {"num_retries": 1},
            "general_settings": {"master_key": f"os.environ/{KEY_VARIABLE}"},
        }

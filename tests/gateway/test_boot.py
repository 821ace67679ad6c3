"""The start inside LiteLLM, in a process of its own: it settles that process's heap."""

import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import gc
from coalmine.gateway.boot import plugin
made = plugin()
print(type(made).__name__, gc.get_freeze_count() > 100_000)
if hasattr(made, "worker"):
    made.worker.stop()
"""


def started(folder: Path, **env: str) -> str:
    """Start the plugin alone, without a policy; return what it is and whether it has settled."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=folder, capture_output=True, text=True, check=True,
        timeout=120, env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **env},
    )
    return done.stdout.splitlines()[-1]


def test_what_litellm_has_loaded_is_kept_out_of_garbage_collection(tmp_path: Path) -> None:
    """Or a whole round of it would stop a worker for half a second, a rollback with it."""
    assert started(tmp_path) == "CoalminePlugin True"


def test_switched_off_it_leaves_the_process_alone(tmp_path: Path) -> None:
    """COALMINE_BYPASS means: as if we were not there."""
    assert started(tmp_path, COALMINE_BYPASS="1") == "CustomLogger False"

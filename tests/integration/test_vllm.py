"""The product's main job on two real vLLM servers: a canary that goes bad, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.vllm
@pytest.mark.timeout(1500)
def test_the_demo_on_real_vllm_servers_holds_all_of_its_promises() -> None:
    """v2's engine is killed in the canary: it is rolled back by itself; new requests are fine."""
    if "vllm" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names vllm")
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    installed = subprocess.run(
        [sys.executable, "-m", "coalmine.sim.vllm_install"], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=900, check=False)
    assert installed.returncode == 0, installed.stdout[-3000:] + installed.stderr[-3000:]
    demo = subprocess.run(
        [sys.executable, "-m", "coalmine.cli.main", "demo", "--engines", "vllm"], cwd=ROOT,
        env=environment, capture_output=True, text=True, timeout=560, check=False)
    assert demo.returncode == 0, demo.stdout[-8000:] + demo.stderr[-4000:]

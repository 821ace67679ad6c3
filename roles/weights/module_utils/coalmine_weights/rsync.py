"""Weights by rsync."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .manifest import File, parents
from .problems import Broken, NotYet, Wrong
from .reading import SILENCE, read_digest
from .verifying import check_digest, check_size


class Rsync:
    """A folder that rsync reaches, through its daemon or ssh."""

    def __init__(self, source: str):
        self.source = source.rstrip("/")

    def ready(self, files: dict[str, File]) -> None:
        if shutil.which("rsync") is None:
            raise NotYet("rsync: it is not on this host. Install the package rsync.")

    def fetch(self, files: dict[str, File], into: Path) -> None:
        # --copy-links: a tree of plain files, whatever links lead to them at the source.
        command = ["rsync", "-a", "--no-owner", "--no-group", "--no-devices", "--no-specials",
                   "--copy-links", f"--timeout={SILENCE}", "--from0", "--include-from=-",
                   "--exclude=*", "--", f"{self.source}/", f"{into}/"]
        # No question that nobody is there to answer.
        environment = {"RSYNC_RSH": f"ssh -o BatchMode=yes -o ConnectTimeout={SILENCE}",
                       **os.environ}
        done = subprocess.run(command, input=_patterns(files).encode(), env=environment,
                              capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise Broken(f"source {self.source}: rsync ended with {done.returncode}: {said}.")
        for path, file in files.items():
            where = f"{self.source}/{path}"
            if not (into / path).is_file():
                raise Wrong(f"{where}: there is no such plain file.")
            check_size(where, (into / path).stat().st_size, file)
            check_digest(where, read_digest(into / path), file)


def _patterns(files: dict[str, File]) -> str:
    """What matches these files and their folders and nothing else, in rsync's words.

    Not --files-from: rsync 3.5.0 as a daemon that does not chroot finds none of its files in a
    folder of a module.
    """
    folders = {f"{above}/" for path in files for above in parents(path) if above != "."}
    return "".join(f"/{_literally(path)}\0" for path in [*sorted(folders), *files])


def _literally(path: str) -> str:
    """A pattern for this path; a backslash escapes only where there is something to escape."""
    return re.sub(r"([\\*?[])", r"\\\1", path) if re.search(r"[*?[]", path) else path

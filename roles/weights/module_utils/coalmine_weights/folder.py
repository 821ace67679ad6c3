"""Weights from a folder on the host."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .manifest import File
from .problems import NotYet, Wrong
from .reading import read_digest
from .verifying import check_digest, check_size


class Folder:
    """A folder on the host."""

    def __init__(self, path: str):
        self.path = Path(path)

    def ready(self, files: dict[str, File]) -> None:
        if not self.path.is_dir():
            raise NotYet(f"source {self.path}: there is no such folder on this host. "
                         "Mount it, or name another source.")
        for path, file in files.items():
            check_size(self.path / path, self._real(path).stat().st_size, file)

    def fetch(self, files: dict[str, File], into: Path) -> None:
        for path, file in files.items():
            shutil.copyfile(self._real(path), into / path)
            check_digest(self.path / path, read_digest(into / path), file)

    def _real(self, path: str) -> Path:
        """Where the file really lies; links may lead to it within the source only."""
        source = Path(os.path.realpath(self.path))
        real = Path(os.path.realpath(source / path))
        if source not in real.parents:
            raise Wrong(f"{self.path / path}: it is a link that leaves the source, to {real}. "
                        "Put the file there instead (cp -rL).")
        if not real.is_file():
            raise Wrong(f"{self.path / path}: there is no such file.")
        return real

"""Where a release lies on the host, and its stamp there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .manifest import Manifest
from .problems import Unfit
from .tree import Found, sync

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")


class Place:
    """Where a release lies, is made and is stamped: all on one file system."""

    def __init__(self, folder: str, name: str):
        if not NAME.fullmatch(name):
            raise Unfit(f"name {name!r}: it must be a plain folder name: letters, digits and "
                        "'._+-', not starting with a dot or a sign.")
        self.name = name
        self.folder = Path(folder)
        self.tree = self.folder / name
        self.making = self.folder / f".making-{name}"
        self.aside = self.folder / f".aside-{name}"
        self.stamp = self.folder / ".stamps" / f"{name}.json"
        self.lock = self.folder / ".stamps" / f"{name}.lock"

    def leftovers(self) -> list[Path]:
        """What an interrupted run left, or a running one is at."""
        return [path for path in (self.making, self.aside) if os.path.lexists(path)]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other runs away."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with open(self.lock, "w", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unfit(f"{self.tree}: another run is at it. Wait until that has "
                            "ended.") from None
            yield

    def read_stamp(self) -> Any:
        """The stamp; None where there is none that can be read."""
        try:
            return json.loads(self.stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def write_stamp(self, stamp: Any) -> None:
        """Put a stamp in place of the old one."""
        new = self.stamp.with_name(self.stamp.name + ".new")
        new.write_text(json.dumps(stamp), encoding="utf-8")
        sync(new)
        os.replace(new, self.stamp)

    def exchange(self) -> None:
        """Rename what was made into place, and what was there aside."""
        was_there = os.path.lexists(self.tree)
        if was_there:
            os.rename(self.tree, self.aside)
        try:
            os.rename(self.making, self.tree)
        except OSError:
            if was_there:
                os.rename(self.aside, self.tree)
            raise
        sync(self.folder)


def stamp_of(manifest: Manifest, found: Found) -> dict[str, Any]:
    """What stays the same while nobody touches the files."""
    files = {path: [facts.st_ino, facts.st_mtime_ns, facts.st_size]
             for path, facts in found.files.items()}
    return {"manifest": manifest.digest, "files": files}

"""The manifest: all files of a release, as they must be."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from .problems import Unfit

SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
AGAIN = "Make it again with make-manifest."


class File(NamedTuple):
    """What a file must be."""

    sha256: str
    size: int


class Manifest:
    """All files of a release, by their path within it."""

    def __init__(self, files: dict[str, File]):
        self.files = files
        self.size = sum(file.size for file in files.values())
        # Every folder that the files lie in, outer ones first; "." is the release itself.
        self.folders = sorted({str(above) for path in files for above in parents(path)})

    @property
    def digest(self) -> str:
        """The same for all ways to write the same manifest."""
        files = {path: {"sha256": file.sha256, "bytes": file.size}
                 for path, file in self.files.items()}
        text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def parents(path: str) -> list[str]:
    """The folders that a path lies in, inner ones first; the last is "."."""
    return [str(above) for above in PurePosixPath(path).parents]


def parse_manifest(text: str) -> Manifest:
    """Return the manifest that `text` is, or say what is wrong with it."""
    try:
        document = json.loads(text, object_pairs_hook=_without_twins)
    except ValueError as problem:
        raise Unfit(f"manifest: this is not JSON: {problem}. {AGAIN}") from None
    if not isinstance(document, dict) or list(document) != ["files"]:
        raise Unfit(f'manifest: it must be {{"files": {{…}}}} and nothing else. {AGAIN}')
    entries = document["files"]
    if not isinstance(entries, dict) or not entries:
        raise Unfit(f"manifest: files: it lists none. {AGAIN}")
    files = {path: _parse_file(path, entry) for path, entry in entries.items()}
    for path in files:
        for above in parents(path):
            if above in files:
                raise Unfit(f"manifest: {above!r} is a file, so {path!r} cannot lie in it. {AGAIN}")
    return Manifest(files)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise Unfit(f"manifest: {key!r} is there twice. {AGAIN}")
        document[key] = value
    return document


def _parse_file(path: str, entry: Any) -> File:
    where = f"manifest: file {path!r}"
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise Unfit(f"{where}: the path leaves the release's folder. {AGAIN}")
    if "" in parts or "." in parts or not path.isprintable():
        raise Unfit(f"{where}: the path is not plain, as in 'sub/config.json'. {AGAIN}")
    if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
        raise Unfit(f"{where}: it must have 'sha256' and 'bytes' and nothing else. {AGAIN}")
    sha256, size = entry["sha256"], entry["bytes"]
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise Unfit(f"{where}: sha256 {sha256!r} is not 64 hexadecimal digits. {AGAIN}")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise Unfit(f"{where}: bytes {size!r} is not a whole number from 0 up. {AGAIN}")
    return File(sha256.lower(), size)

"""Whether files are those of the manifest."""

from __future__ import annotations

from pathlib import Path

from .manifest import File, Manifest
from .problems import Wrong
from .tree import Found


def check_shape(manifest: Manifest, tree: Path, found: Found) -> None:
    """Raise Wrong where `tree` lacks a file, has one too many, or one of another size."""
    for path in sorted(found.strange):
        raise Wrong(f"{tree / path}: this is a link or a device, not a plain file.")
    for path in sorted(manifest.files.keys() - found.files.keys()):
        raise Wrong(f"{tree / path}: this file is missing.")
    for path in sorted(found.files.keys() - manifest.files.keys()):
        raise Wrong(f"{tree / path}: the manifest does not list this file.")
    for path in sorted(found.folders.keys() - set(manifest.folders)):
        raise Wrong(f"{tree / path}: no file of the manifest lies in this folder.")
    for path, file in manifest.files.items():
        check_size(tree / path, found.files[path].st_size, file)


def check_size(where: object, size: int, file: File) -> None:
    """Raise Wrong where `size` is not the file's."""
    if size != file.size:
        raise Wrong(f"{where}: {file.size} bytes expected by the manifest, {size} found.")


def check_digest(where: object, sha256: str, file: File) -> None:
    """Raise Wrong where `sha256` is not the file's."""
    if sha256 != file.sha256:
        raise Wrong(f"{where}: sha256 {file.sha256} expected by the manifest, {sha256} found.")

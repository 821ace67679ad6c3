"""How bytes are read: in blocks, with patience, and to their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 1 << 20
SILENCE = 60  # seconds that a server may say nothing


def read_digest(path: Path) -> str:
    """Read the whole file."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()

"""One way to write a document down, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(document: Any) -> str:
    """Return `document` as JSON with sorted keys and no spaces.

    Raises:
        ValueError: when it holds NaN or an infinity, which JSON cannot carry.
        TypeError: when it holds something that is not JSON.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(document: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of `document`."""
    return "sha256:" + hashlib.sha256(canonical_json(document).encode()).hexdigest()

"""Reading and writing the files that are named on the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from coalmine.cli.text import one_line
from coalmine.release.errors import CoalmineError


def read_text(path: Path) -> str:
    """Return the text of `path`.

    Raises:
        CoalmineError: when it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CoalmineError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError as error:
        raise CoalmineError(f"{path}: byte {error.start + 1} is not UTF-8") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that `path` holds.

    Raises:
        CoalmineError: when it cannot be read or is no mapping.
    """
    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise CoalmineError(f"{path}: not YAML: {one_line(error, 200)}") from None
    if not isinstance(found, dict):
        raise CoalmineError(f"{path}: must be a mapping, as LiteLLM's config is")
    return found


def write_lines(documents: Iterable[dict[str, Any]], path: Path | None) -> None:
    """Write each document as a line of JSON into `path`, or to stdout without one.

    Who reads stdout may have had enough: that ends the writing, and is no error.

    Raises:
        CoalmineError: when the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8") if path else nullcontext(sys.stdout) as stream:
            for document in documents:
                stream.write(json.dumps(document) + "\n")
            stream.flush()
    except BrokenPipeError:
        # Python flushes stdout once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        reason = error.strerror or "cannot be written"
        raise CoalmineError(f"{path or 'stdout'}: {reason}") from None

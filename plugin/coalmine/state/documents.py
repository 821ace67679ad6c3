"""Our values as the stores keep them: JSON, and StateCorrupt for what is not ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import ValidationError

from coalmine.rollout.service import Service
from coalmine.routing import BACK
from coalmine.state.errors import StateCorrupt
from coalmine.state.protocol import Batch, Beat, Entry

T = TypeVar("T")
Text = str | bytes


def to_json(value: Any) -> str:
    """Return compact JSON.

    Raises:
        TypeError: for values that JSON cannot hold, which is a mistake of the caller.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _read(what: str, text: Text, build: Callable[[Any], T]) -> T:
    try:
        return build(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise StateCorrupt(
            f"the state holds {what} that Coalmine did not write: {type(error).__name__}",
            "restore it from a backup, or use another place for the state",
        ) from error


def is_back(service: Service) -> bool:
    """Whether the service was rolled back, which wins over anything else of the same epoch."""
    return service.phase in BACK


def write_service(service: Service) -> str:
    """Return a service's document."""
    return service.model_dump_json()


def read_service(text: Text) -> Service:
    """Return the service that `text` describes.

    Raises:
        StateCorrupt: when it is no service, or one of a Coalmine with other fields.
    """
    try:
        return Service.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise StateCorrupt(
            f"a service in the state cannot be read: {where}: {first['msg']}",
            "was it written by another version of Coalmine? Run one version on all gateways",
        ) from error


def write_entry(entry: Entry) -> str:
    """Return a log entry's document."""
    return to_json(asdict(entry))


def read_entry(text: Text) -> Entry:
    """Return the log entry that `text` describes, or raise StateCorrupt."""
    return _read("a log entry", text, lambda document: Entry(**document))


def write_beat(beat: Beat) -> str:
    """Return a beat's document, without its age."""
    document = asdict(beat)
    del document["seen"]
    return to_json(document)


def read_beat(text: Text, seen: float) -> Beat:
    """Return the beat that `text` describes, `seen` seconds old, or raise StateCorrupt."""
    return _read("a beat", text, lambda document: Beat(**document, seen=seen))


def write_batch(batch: Batch) -> str:
    """Return a batch's document."""
    return to_json({
        "worker": batch.worker, "gateway": batch.gateway, "number": batch.number,
        "attempts": batch.attempts, "totals": batch.totals,
    })


def read_batch(text: Text) -> Batch:
    """Return the batch that `text` describes, or raise StateCorrupt."""
    return _read("a batch", text, lambda document: Batch(
        worker=document["worker"], gateway=document["gateway"], number=document["number"],
        attempts=tuple(document["attempts"]), totals=document["totals"],
    ))


def read_document(text: Text) -> dict[str, Any]:
    """Return the JSON object in `text`, or raise StateCorrupt."""
    return _read("a document", text, dict)

"""The snapshot beside the process: what was in force, for a start without the state."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from coalmine.rollout.service import Service
from coalmine.state import Entry

log = logging.getLogger("coalmine.snapshot")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a snapshot holds.

    Attributes:
        installation: what tells the shared state from another, None when it is not known.
        services: the services as they were last applied.
        pending: log entries of rollbacks that the state does not know of yet, by service.
    """

    installation: str | None = None
    services: Mapping[str, Service] = field(default_factory=dict)
    pending: Mapping[str, Entry] = field(default_factory=dict)


class Snapshot:
    """The file. A fault of it is logged and never raised: nothing depends on it but a start.

    Args:
        path: where it is, None to keep none.
        worker: the worker's id; the workers of one host write the same file.
    """

    def __init__(self, path: Path | None, worker: str) -> None:
        self._path = path
        self._worker = worker
        self._writing = Lock()

    def write(self, current: Callable[[], Kept]) -> None:
        """Put what is current in the file's place, whole or not at all."""
        path = self._path
        if path is None:
            return
        with self._writing:  # asked inside, so that the newest is what is written last
            kept = current()
            document = {
                "installation": kept.installation,
                "services": {name: json.loads(service.model_dump_json())
                             for name, service in kept.services.items()},
                "pending": {name: asdict(entry) for name, entry in kept.pending.items()},
            }
            aside = path.with_name(f"{path.name}.{self._worker}")
            try:
                aside.write_text(json.dumps(document), encoding="utf-8")
                aside.replace(path)
            except OSError as error:
                log.warning("the snapshot %s could not be written: %s", path, error)

    def read(self) -> Kept:
        """Return what can be read of the file; one faulty service takes no other with it."""
        path = self._path
        if path is None or not path.exists():
            return Kept()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            written = dict(document["services"])
            installation = document.get("installation")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the snapshot %s cannot be used: %s", path, error)
            return Kept()
        services: dict[str, Service] = {}
        for name, fields in written.items():
            try:
                services[name] = Service.model_validate(fields)
            except ValidationError as error:
                log.warning("%s cannot be used of the snapshot %s: %s", name, path, error)
        pending: dict[str, Entry] = {}
        try:
            pending = {name: Entry(**entry) for name, entry in document["pending"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            log.warning("the rollbacks in %s cannot be read: %s", path, error)
        return Kept(installation if isinstance(installation, str) else None, services, pending)

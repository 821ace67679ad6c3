"""The errand: one release is brought to this host, unless it is there."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .manifest import parse_manifest
from .place import Place, stamp_of
from .problems import NotYet, Unfit, Wrong, told
from .reading import read_digest
from .room import disk_use, gib
from .sources import parse_source
from .tree import Found, remove, seal, survey, sync
from .verifying import check_digest, check_shape


class Errand:
    """One release, to be brought to this host."""

    def __init__(self, arguments: dict[str, Any], *, check: bool, free: Callable[[Path], int]):
        self.place = Place(arguments["folder"], arguments["name"])
        self.manifest = parse_manifest(arguments["manifest"])
        self.source = parse_source(arguments["source"], arguments["http_headers"])
        self.arguments = arguments
        self.check = check
        self.free = free
        self.warnings: list[str] = []
        self.diff: dict[str, str] = {}

    def result(self, msg: str, *, changed: bool, verified: str | None) -> dict[str, Any]:
        """What the caller is told."""
        size = f"{len(self.manifest.files)} files, {gib(self.manifest.size)}"
        return {
            "changed": changed, "msg": f"{self.place.name} ({size}): {msg}.",
            "path": str(self.place.tree), "digest": self.manifest.digest,
            "bytes": self.manifest.size, "verified": verified,
        }

    def run(self) -> dict[str, Any]:
        """Bring the release, unless it is there, and say what came of it."""
        with contextlib.nullcontext() if self.check else self.place.locked():
            owner = self._unless_check(_number, "owner", self.arguments["owner"])
            group = self._unless_check(_number, "group", self.arguments["group"])
            cleared = self._clear()
            try:
                seen = self._look()
            except Wrong as wrong:
                if not self.arguments["replace"]:
                    raise Unfit(f"{wrong} It was left as it is, as an engine may have it mapped. "
                                "Look who wrote there; give other weights another name; or "
                                "replace them on purpose (replace, in the role "
                                "weights_replace: true).") from None
                return self._bring(owner, group, why=f" in place of what was wrong: {wrong}")
            if seen is None:
                return self._bring(owner, group)
            return self._keep(*seen, owner, group, cleared=cleared)

    def _unless_check(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Do it; what is not there yet is only warned of in check mode, and -1 then."""
        try:
            return act(*arguments)
        except NotYet as problem:
            if not self.check:
                raise
            self.warnings.append(str(problem))
            return -1

    def _clear(self) -> bool:
        """Remove what an interrupted run left."""
        leftovers = self.place.leftovers()
        if not self.check:
            for path in leftovers:
                remove(path)
        return bool(leftovers)

    def _look(self) -> tuple[str, Found] | None:
        """Verify the tree in place: return how and what was found, or None without a tree."""
        tree = self.place.tree
        if not os.path.lexists(tree):
            return None
        if tree.is_symlink() or not tree.is_dir():
            raise Wrong(f"{tree}: this is not a folder.")
        found = survey(tree)
        check_shape(self.manifest, tree, found)
        stamped = self.place.read_stamp() == stamp_of(self.manifest, found)
        if stamped and not self.arguments["verify"]:
            return "stamp", found
        for path, file in self.manifest.files.items():
            check_digest(tree / path, read_digest(tree / path), file)
        return "read", found

    def _keep(
        self, how: str, found: Found, owner: int, group: int, *, cleared: bool
    ) -> dict[str, Any]:
        """Leave the tree that is in place, but read-only and stamped."""
        sealed = seal(self.place.tree, found, owner, group, check=self.check)
        if how == "read" and not self.check:
            self.place.write_stamp(stamp_of(self.manifest, found))
        says = {"stamp": "in place, untouched since it was last read",
                "read": "in place, all bytes read and right, stamped anew"}[how]
        would = "would be " if self.check else ""
        says += f"; modes or owners {would}put right" if sealed else ""
        says += f"; leftovers of an interrupted run {would}removed" if cleared else ""
        return self.result(says, changed=sealed or cleared, verified=how)

    def _bring(self, owner: int, group: int, why: str = "") -> dict[str, Any]:
        """Fetch the release and put it in place."""
        self._unless_check(self.source.ready, self.manifest.files)
        self._check_room()
        self._note_difference()
        if self.check:
            return self.result(f"would be fetched{why}", changed=True, verified=None)
        try:
            found = self._make(owner, group)
            self.place.exchange()
        finally:
            remove(self.place.making)
        self.place.write_stamp(stamp_of(self.manifest, found))
        remove(self.place.aside)
        return self.result(f"fetched and verified{why}", changed=True, verified="read")

    def _check_room(self) -> None:
        """Refuse to begin what cannot be finished."""
        needed = self.manifest.size
        free = self.free(self.place.folder) + sum(map(disk_use, self.place.leftovers()))
        if needed > free:
            raise Unfit(f"{self.place.folder}: {self.place.name} needs {gib(needed)}, and "
                        f"{gib(free)} are free. Remove releases that no engine uses.")

    def _make(self, owner: int, group: int) -> Found:
        """Fetch all files aside, and let them be as they shall be in place."""
        making = self.place.making
        making.mkdir(mode=0o700)
        for folder in self.manifest.folders:
            (making / folder).mkdir(exist_ok=True)
        try:
            self.source.fetch(self.manifest.files, making)
            found = survey(making)
            check_shape(self.manifest, making, found)
        except (Unfit, OSError) as problem:
            raise Unfit(f"{told(problem)} Nothing was put in place. Mend the source, or make the "
                        "manifest again if that is wrong.") from None
        seal(making, found, owner, group, check=False)
        for path in [*found.files, *found.folders]:
            sync(making / path)
        return found

    def _note_difference(self) -> None:
        before: dict[str, int] = {}
        if self.place.tree.is_dir() and not self.place.tree.is_symlink():
            files = survey(self.place.tree).files
            before = {path: facts.st_size for path, facts in files.items()}
        after = {path: file.size for path, file in self.manifest.files.items()}
        where = str(self.place.tree)
        self.diff = {"before_header": where, "after_header": where,
                     "before": _listing(before), "after": _listing(after)}


def _listing(sizes: dict[str, int]) -> str:
    return "".join(f"{path} ({size} bytes)\n" for path, size in sorted(sizes.items()))


def _number(kind: str, name: str) -> int:
    """The number of a user or a group."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise NotYet(f"{kind} {name!r}: this host does not know it. Make it first.") from None

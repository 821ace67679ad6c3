#!/usr/bin/python
"""Bring the weights of one release to a host: made aside, verified, then renamed into place."""

# ruff: noqa: E402 - Ansible's modules say first what they are

from __future__ import annotations

DOCUMENTATION = r"""
---
module: coalmine_weights
short_description: Bring the weights of a release to a host, verified
description:
  - Fetches the files that a manifest lists into a folder aside on the same file system, verifies
    the size and the SHA-256 of each, and only then renames the folder into place, read-only.
  - A tree in place is compared with the manifest. A stamp spares reading all of it again while no
    file's inode, time of change or size differs from when it was last read.
  - Weights in place are never replaced unasked, as an engine may have them mapped.
options:
  folder:
    description: The folder that holds all releases.
    type: path
    default: /var/lib/coalmine/models
  name:
    description: The release, a plain name. Its files lie in the folder of this name.
    type: str
    required: true
  manifest:
    description:
      - >-
        The manifest itself, as JSON: C({"files": {"config.json": {"sha256": "…", "bytes": 123}}}).
        The files it lists are fetched, and no others.
    type: json
    required: true
  source:
    description:
      - A folder on the host (C(/srv/models/x)), an rsync source (C(rsync://host/module/x) or
        C(user@host:/path)), or the URL of a folder (C(https://host/x), to which the files' paths
        are appended).
    type: str
    required: true
  http_headers:
    description:
      - Headers for a source that is a URL, such as C(Authorization). They do not follow a redirect
        to another server.
    type: dict
    default: {}
  verify:
    description: Read all bytes again although the stamp fits.
    type: bool
    default: false
  replace:
    description:
      - Where the tree in place is not what the manifest says, fetch it anew and exchange it. An
        engine keeps what it has mapped; one that still loads may see both.
    type: bool
    default: false
  owner:
    description: User that owns the files, by name or number.
    type: str
    default: root
  group:
    description: Group of the files, by name or number.
    type: str
    default: root
  only_arguments:
    description: Look only whether the arguments are well-formed; nothing of the host is read.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description:
      - Reads what is in place. Asks no server; warns of a source, user or group not there yet.
  diff_mode:
    support: full
    description: Lists the files added, and those they replace.
requirements:
  - rsync on the host, for an rsync source
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Bring a release from a mirror
  coalmine_weights:
    name: chat-v2
    manifest: "{{ lookup('ansible.builtin.file', 'manifests/chat-v2.json') | string }}"
    source: https://models.example.net/chat-v2
    http_headers:
      Authorization: Bearer {{ vault_models_token }}

- name: Read all bytes of a release again
  coalmine_weights:
    name: chat-v2
    manifest: "{{ lookup('ansible.builtin.file', 'manifests/chat-v2.json') | string }}"
    source: /srv/models/chat-v2
    verify: true
"""

RETURN = r"""
path:
  description: The folder with the release's files.
  type: str
  returned: success
  sample: /var/lib/coalmine/models/chat-v2
digest:
  description: Digest of the canonical manifest, as Coalmine writes digests.
  type: str
  returned: success
  sample: sha256:0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b
bytes:
  description: Size of all files together.
  type: int
  returned: success
  sample: 16070012345
verified:
  description:
    - How the files are known to be right. C(stamp), none was touched since they were last read;
      C(read), all bytes were read in this run; null where nothing is verified yet (check mode).
  type: str
  returned: success
  sample: stamp
msg:
  description: What was found or done, for people.
  type: str
  returned: always
"""

import contextlib
import fcntl
import grp
import hashlib
import http.client
import json
import os
import pwd
import re
import shutil
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ansible.module_utils.basic import AnsibleModule

BLOCK = 1 << 20
SILENCE = 60  # seconds that a server may say nothing
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
DAEMON = re.compile(r"rsync://[^/\s]+/\S.*")
SSH = re.compile(r"(\w[\w.-]*@)?(\w[\w.-]*|\[[0-9A-Fa-f:.]+\]):/(?!/).*", re.ASCII)
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
FILE_MODE = 0o444
FOLDER_MODE = 0o555
AGAIN = "Make it again with make-manifest."


class Unfit(Exception):
    """What was asked for cannot be had; the text tells the operator why and what to do."""


class NotYet(Unfit):
    """Something is not on the host, which in check mode an earlier task may have left out."""


class Wrong(Unfit):
    """A file is not what the manifest says."""


class Broken(Unfit):
    """A transfer did not come to its end; it may the next time."""


def told(problem: Unfit | OSError) -> str:
    """The sentence for the operator."""
    if isinstance(problem, OSError):
        return f"{problem.filename or 'this host'}: {problem.strerror}."
    return str(problem)


# ---------------------------------------------------------------------------- the manifest


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
        self.folders = sorted({str(above) for path in files for above in _parents(path)})

    @property
    def digest(self) -> str:
        """The same for all ways to write the same manifest."""
        files = {path: {"sha256": file.sha256, "bytes": file.size}
                 for path, file in self.files.items()}
        text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _parents(path: str) -> list[str]:
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
        for above in _parents(path):
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


# ---------------------------------------------------------------------------- files on the host


class Found(NamedTuple):
    """What lies in a folder, by path within it."""

    files: dict[str, os.stat_result]
    folders: dict[str, os.stat_result]
    strange: list[str]  # links, sockets, devices


def survey(tree: Path) -> Found:
    """Look at all that lies in `tree`; links are not followed."""
    found = Found({}, {".": os.lstat(tree)}, [])
    for at, below, beside in os.walk(tree, onerror=_complain):
        for name in below + beside:
            path = os.path.relpath(os.path.join(at, name), tree)
            facts = os.lstat(tree / path)
            if stat.S_ISDIR(facts.st_mode):
                found.folders[path] = facts
            elif stat.S_ISREG(facts.st_mode):
                found.files[path] = facts
            else:
                found.strange.append(path)
    return found


def _complain(problem: OSError) -> None:
    raise problem


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


def read_digest(path: Path) -> str:
    """Read the whole file."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()


def seal(tree: Path, found: Found, owner: int, group: int, *, check: bool) -> bool:
    """Make all read-only and give it to its owner (-1: whoever has it); True where that is news."""
    modes = [(path, facts, FOLDER_MODE) for path, facts in found.folders.items()]
    modes += [(path, facts, FILE_MODE) for path, facts in found.files.items()]
    changed = False
    for path, facts, mode in modes:
        owned = owner in {-1, facts.st_uid} and group in {-1, facts.st_gid}
        if owned and stat.S_IMODE(facts.st_mode) == mode:
            continue
        changed = True
        if not check:
            if not owned:
                os.chown(tree / path, owner, group)
            os.chmod(tree / path, mode)
    return changed


def sync(path: Path) -> None:
    """Let a file or folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove whatever is there, read-only folders too."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        for at, _, _ in os.walk(path):
            os.chmod(at, 0o700)
        shutil.rmtree(path)


def disk_use(path: Path) -> int:
    """Bytes that would be free were `path` removed."""
    if not os.path.lexists(path):
        return 0
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512
               for at, _, names in os.walk(path) for name in names)


def free_bytes(folder: Path) -> int:
    """Free space for what will be written in `folder`, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.2f} MiB"


# ---------------------------------------------------------------------------- sources
# A source is asked first whether it is ready: it raises NotYet or Wrong where it can tell without a
# transfer. Then it fetches files into folders that are there already, each verified, or raises.


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


class Rsync:
    """A folder that rsync reaches, through its daemon or ssh."""

    def __init__(self, source: str):
        self.source = source.rstrip("/")

    def ready(self, files: dict[str, File]) -> None:
        if shutil.which("rsync") is None:
            raise NotYet("rsync: it is not on this host. Install the package rsync.")

    def fetch(self, files: dict[str, File], into: Path) -> None:
        # --copy-links: a tree of plain files, whatever links lead to them at the source.
        command = ["rsync", "-a", "--no-owner", "--no-group", "--no-devices", "--no-specials",
                   "--copy-links", f"--timeout={SILENCE}", "--from0", "--include-from=-",
                   "--exclude=*", "--", f"{self.source}/", f"{into}/"]
        # No question that nobody is there to answer.
        environment = {"RSYNC_RSH": f"ssh -o BatchMode=yes -o ConnectTimeout={SILENCE}",
                       **os.environ}
        done = subprocess.run(command, input=_patterns(files).encode(), env=environment,
                              capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise Broken(f"source {self.source}: rsync ended with {done.returncode}: {said}.")
        for path, file in files.items():
            where = f"{self.source}/{path}"
            if not (into / path).is_file():
                raise Wrong(f"{where}: there is no such plain file.")
            check_size(where, (into / path).stat().st_size, file)
            check_digest(where, read_digest(into / path), file)


def _patterns(files: dict[str, File]) -> str:
    """What matches these files and their folders and nothing else, in rsync's words.

    Not --files-from: rsync 3.5.0 as a daemon that does not chroot finds none of its files in a
    folder of a module.
    """
    folders = {f"{above}/" for path in files for above in _parents(path) if above != "."}
    return "".join(f"/{_literally(path)}\0" for path in [*sorted(folders), *files])


def _literally(path: str) -> str:
    """A pattern for this path; a backslash escapes only where there is something to escape."""
    return re.sub(r"([\\*?[])", r"\\\1", path) if re.search(r"[*?[]", path) else path


class Web:
    """A folder of a web server; the files are its URL and their path."""

    def __init__(self, url: str, headers: dict[str, Any]):
        self.url = url.rstrip("/")
        self.headers = {name: str(value) for name, value in headers.items()}
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        self.opener = urllib.request.build_opener(Redirects(self.headers), secure)

    def ready(self, files: dict[str, File]) -> None:
        """Nothing is known before it is asked."""

    def fetch(self, files: dict[str, File], into: Path) -> None:
        for path, file in files.items():
            url = f"{self.url}/{quote(path)}"
            try:
                self._get(url, file, into / path)
            except Broken:
                self._get(url, file, into / path)

    def _get(self, url: str, file: File, to: Path) -> None:
        request = urllib.request.Request(url)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        try:
            with self.opener.open(request, timeout=SILENCE) as answer, open(to, "wb") as out:
                length = answer.headers.get("Content-Length", "")
                if length.isdecimal():
                    check_size(url, int(length), file)
                size, sha256 = _pour(answer, out, file.size)
        except urllib.error.HTTPError as problem:
            problem.close()
            kind = Broken if problem.code in {408, 429} or problem.code >= 500 else Unfit
            raise kind(f"{url}: the server says {problem.code} {problem.reason}.") from None
        except (OSError, http.client.HTTPException) as problem:
            raise Broken(f"{url}: {problem}.") from None
        if size < file.size:
            raise Broken(f"{url}: it ended after {size} of {file.size} bytes.")
        if size > file.size:
            raise Wrong(f"{url}: {file.size} bytes expected by the manifest, more found.")
        check_digest(url, sha256, file)


def _pour(answer: Any, out: Any, most: int) -> tuple[int, str]:
    """Write an answer to a file while hashing it; stop soon after `most` bytes."""
    digest, size = hashlib.sha256(), 0
    while size <= most and (block := answer.read(BLOCK)):
        digest.update(block)
        out.write(block)
        size += len(block)
    return size, digest.hexdigest()


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; headers come along to the same server only, and https stays https."""

    def __init__(self, headers: dict[str, str]):
        self.headers = headers

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and (old.scheme, new.scheme) != ("http", "http"):
            fp.close()
            raise Unfit(f"{req.full_url}: it redirects from {old.scheme} to {new.scheme}, which is "
                        "less safe.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            for name, value in self.headers.items():
                request.add_unredirected_header(name, value)
        return request


def parse_source(text: str, headers: dict[str, Any]) -> Folder | Rsync | Web:
    """Return the source that `text` names, or say what it should be."""
    if text.startswith(("http://", "https://")):
        return _parse_url(text, headers)
    if DAEMON.fullmatch(text) or SSH.fullmatch(text):
        return Rsync(text)
    if text.startswith("/"):
        return Folder(text)
    raise Unfit(f"source {text!r}: it must be /a/folder, rsync://host/module/folder, "
                "user@host:/a/folder, http://host/folder or https://host/folder.")


def _parse_url(text: str, headers: dict[str, Any]) -> Web:
    try:
        url = urlsplit(text)
        sound = bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise Unfit(f"source {text!r}: this is not a URL. Write https://host/folder.")
    if "@" in url.netloc:
        raise Unfit("source: the URL holds a user or a password. Hand them over as a header "
                    "(http_headers), which is never shown.")
    if url.query or url.fragment:
        raise Unfit(f"source {text!r}: files' paths are appended to it, so it cannot have a '?' "
                    "or a '#'. Name the folder; a token belongs into http_headers.")
    for name, value in headers.items():
        if not HEADER.fullmatch(name) or not str(value).isprintable():
            raise Unfit(f"http_headers: {name!r} or its value is not one plain line. Mend it.")
    return Web(text, headers)


# ---------------------------------------------------------------------------- the errand


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


def main() -> None:
    """Be an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/var/lib/coalmine/models"},
            "name": {"type": "str", "required": True},
            "manifest": {"type": "json", "required": True},
            "source": {"type": "str", "required": True},
            "http_headers": {"type": "dict", "default": {}, "no_log": True},
            "verify": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "only_arguments": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        errand = Errand(module.params, check=module.check_mode, free=free_bytes)
        if module.params["only_arguments"]:
            result = errand.result("well-formed", changed=False, verified=None)
        else:
            result = errand.run()
    except (Unfit, OSError) as problem:
        module.fail_json(msg=told(problem))
    for warning in errand.warnings:
        module.warn(warning)
    if errand.diff:
        result["diff"] = errand.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()

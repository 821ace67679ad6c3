"""The role weights: the real module over real files, a real web server and a real rsync."""

from __future__ import annotations

import ast
import contextlib
import datetime
import fcntl
import hashlib
import ipaddress
import json
import mmap
import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coalmine.release import digest

from .plugins import load, play, program

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "weights"
MODULE = "roles/weights/library/coalmine_weights.py"
PARTS = "ansible.module_utils.coalmine_weights"  # what the module is made of
MAKE_MANIFEST = ROLE / "files" / "make-manifest"

CONFIG = b'{"model_type": "tiny"}\n'
SHARD = bytes(range(256)) * 9000  # more than two blocks
FILES = {"config.json": CONFIG, "shards/one.safetensors": SHARD, "shards/empty": b""}
TOKEN = "Bearer hf-7c1f0e2a"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def manifest(files: dict[str, bytes] = FILES) -> dict[str, Any]:
    entries = {path: {"sha256": sha256(body), "bytes": len(body)} for path, body in files.items()}
    return {"files": entries}


def write(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


def overwrite(path: Path, body: bytes) -> None:
    """As somebody with the right to do so would, whatever the mode."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o644)
    path.write_bytes(body)
    path.chmod(mode)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o755)
    yield
    folder.chmod(mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def damaged(body: bytes, at: int = 1_500_000) -> bytes:
    """The same but for one bit."""
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]


@pytest.fixture(scope="session")
def weights() -> Any:
    return load(MODULE)


class Host:
    """A host with one folder of releases; `bring` does what Ansible does there."""

    def __init__(self, folder: Path, source: Path, weights: Any, capsys: Any):
        self.folder = folder
        self.source = source
        self.weights = weights
        self.capsys = capsys
        self.tree = folder / "chat-v2"
        self.making = folder / ".making-chat-v2"

    def arguments(self, **changes: Any) -> dict[str, Any]:
        return {
            "folder": str(self.folder), "name": "chat-v2", "source": str(self.source),
            "manifest": json.dumps(manifest()), "owner": str(os.getuid()),
            "group": str(os.getgid()), **changes,
        }

    def bring(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run the module; return what it tells Ansible."""
        arguments = {**self.arguments(**changes), "_ansible_check_mode": check}
        self.capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            self.weights.main()
        self.output = self.capsys.readouterr().out
        return json.loads(self.output)

    def refusal(self, **changes: Any) -> str:
        """Run the module, which must fail; return why."""
        result = self.bring(**changes)
        assert result.get("failed"), result
        return result["msg"]

    def process(self, **changes: Any) -> subprocess.Popen[str]:
        """Run the module in a process of its own, as hosts do."""
        process = subprocess.Popen(program(MODULE), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": self.arguments(**changes)}))
        process.stdin.close()
        return process


@pytest.fixture
def host(tmp_path, weights, capsys, monkeypatch) -> Host:
    # Tests of filters load Ansible's controller, and modules of that process then print warnings
    # instead of returning them. On a host there is no controller.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    return Host(tmp_path / "models", write(tmp_path / "source"), weights, capsys)


# ---------------------------------------------------------------------------- what is there after


def test_a_release_is_there_complete_and_read_only(host):
    result = host.bring()
    assert result["changed"]
    assert result["verified"] == "read"
    assert result["path"] == str(host.tree)
    assert result["bytes"] == len(CONFIG) + len(SHARD)
    assert contents(host.tree) == FILES
    for path in [host.tree, *host.tree.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o555 if path.is_dir() else 0o444)
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
    assert sorted(path.name for path in host.folder.iterdir()) == [".stamps", "chat-v2"]


def test_it_works_as_a_process_of_its_own(host):
    with host.process() as process:
        assert json.loads(process.stdout.read())["changed"]
    assert contents(host.tree) == FILES


def test_the_files_are_copies_and_no_links_to_the_source(host):
    host.bring()
    overwrite(host.source / "config.json", b"gone")
    assert contents(host.tree) == FILES
    assert all(path.stat().st_nlink == 1 for path in host.tree.rglob("*") if path.is_file())


def test_the_digest_is_coalmines_own_of_the_manifest_however_it_is_written(host):
    expected = digest(manifest())
    assert host.bring()["digest"] == expected
    shouted = {"files": {path: {"bytes": entry["bytes"], "sha256": entry["sha256"].upper()}
                         for path, entry in reversed(manifest()["files"].items())}}
    again = host.bring(manifest=json.dumps(shouted, indent=3))
    assert again["digest"] == expected
    assert not again["changed"]


def test_ansible_may_have_parsed_the_manifest_already(host):
    assert host.bring(manifest=manifest())["digest"] == digest(manifest())


def test_a_diff_lists_the_files_that_are_added(host):
    diff = host.bring()["diff"]
    assert diff["before"] == ""
    assert f"shards/one.safetensors ({len(SHARD)} bytes)\n" in diff["after"]
    assert diff["after_header"] == str(host.tree)


# ---------------------------------------------------------------------------- a second run


def test_a_second_run_changes_nothing_and_reads_nothing(host, monkeypatch):
    host.bring()
    monkeypatch.setattr(f"{PARTS}.errand.read_digest", lambda path: pytest.fail(f"it read {path}"))
    result = host.bring()
    assert not result["changed"]
    assert result["verified"] == "stamp"
    assert "untouched since it was last read" in result["msg"]


def test_a_second_run_needs_the_source_no_more(host):
    host.bring()
    shutil.rmtree(host.source)
    assert not host.bring()["changed"]


def test_all_bytes_are_read_again_on_request(host):
    host.bring()
    result = host.bring(verify=True)
    assert not result["changed"]
    assert result["verified"] == "read"


def test_a_touched_file_with_the_right_bytes_is_read_and_stamped_anew(host):
    host.bring()
    os.utime(host.tree / "config.json", (1, 1))
    result = host.bring()
    assert not result["changed"]
    assert result["verified"] == "read"
    assert "all bytes read and right, stamped anew" in result["msg"]
    assert host.bring()["verified"] == "stamp"


@pytest.mark.parametrize("stamp", [None, "", "{", "[]", '{"manifest": 1}'])
def test_without_a_stamp_that_fits_all_bytes_are_read(host, stamp):
    host.bring()
    file = host.folder / ".stamps" / "chat-v2.json"
    file.unlink()
    if stamp is not None:
        file.write_text(stamp)
    result = host.bring()
    assert (result["changed"], result["verified"]) == (False, "read")
    assert host.bring()["verified"] == "stamp"


def test_modes_are_put_right(host):
    host.bring()
    (host.tree / "config.json").chmod(0o666)
    host.tree.chmod(0o777)
    assert host.bring(check=True)["changed"]
    assert stat.S_IMODE(host.tree.stat().st_mode) == 0o777
    result = host.bring()
    assert result["changed"]
    assert "modes or owners put right" in result["msg"]
    assert stat.S_IMODE((host.tree / "config.json").stat().st_mode) == 0o444
    assert not host.bring()["changed"]


# ---------------------------------------------------------------------------- wrong in place


def test_a_wrong_byte_in_place_fails_with_both_digests_and_is_left_alone(host):
    host.bring()
    shard = host.tree / "shards/one.safetensors"
    overwrite(shard, damaged(SHARD))
    why = host.refusal()
    assert why.startswith(f"{shard}: sha256 {sha256(SHARD)} expected by the manifest, "
                          f"{sha256(damaged(SHARD))} found.")
    assert "left as it is, as an engine may have it mapped" in why
    assert "weights_replace: true" in why
    assert shard.read_bytes() == damaged(SHARD)
    assert host.refusal(check=True) == why


def test_a_byte_that_changed_without_a_trace_is_found_on_request(host):
    host.bring()
    shard = host.tree / "shards/one.safetensors"
    before = shard.stat()
    overwrite(shard, damaged(SHARD))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert host.bring()["verified"] == "stamp"
    assert sha256(damaged(SHARD)) in host.refusal(verify=True)


def lose(tree: Path) -> None:
    (tree / "config.json").unlink()


def add(tree: Path) -> None:
    (tree / "more.bin").write_bytes(b"")


def add_folder(tree: Path) -> None:
    (tree / "more").mkdir()


def cut(tree: Path) -> None:
    overwrite(tree / "config.json", CONFIG[:-1])


def link(tree: Path) -> None:
    (tree / "config.json").rename(tree.parent / "elsewhere.json")
    (tree / "config.json").symlink_to("../elsewhere.json")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lose, "config.json: this file is missing."),
        (add, "more.bin: the manifest does not list this file."),
        (add_folder, "more: no file of the manifest lies in this folder."),
        (cut, "config.json: 23 bytes expected by the manifest, 22 found."),
        (link, "config.json: this is a link or a device, not a plain file."),
    ],
)
def test_whatever_else_is_wrong_in_place_is_named(host, harm, why):
    host.bring()
    with writable(host.tree):
        harm(host.tree)
    assert host.refusal().startswith(f"{host.tree}/{why} It was left as it is")


def test_a_link_in_the_releases_place_is_no_release(host):
    host.folder.mkdir()
    host.tree.symlink_to(host.source)
    assert host.refusal().startswith(f"{host.tree}: this is not a folder.")


def test_a_new_manifest_for_an_old_name_is_not_brought_unasked(host):
    host.bring()
    new = {**FILES, "config.json": b"{}"}
    write(host.source, new)
    assert "config.json: 2 bytes expected by the manifest, 23 found." in host.refusal(
        manifest=manifest(new)
    )
    assert contents(host.tree) == FILES


def test_on_request_the_right_weights_replace_the_wrong_and_an_engine_keeps_its_own(host):
    host.bring()
    shard = host.tree / "shards/one.safetensors"
    overwrite(shard, damaged(SHARD))
    with open(shard, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as engine:
        assert host.bring(replace=True, check=True)["changed"]
        assert shard.read_bytes() == damaged(SHARD)
        result = host.bring(replace=True)
        assert engine[:] == damaged(SHARD)
    assert result["changed"]
    assert f"in place of what was wrong: {shard}: sha256 " in result["msg"]
    assert "config.json (23 bytes)" in result["diff"]["before"]
    assert contents(host.tree) == FILES
    assert sorted(path.name for path in host.folder.iterdir()) == [".stamps", "chat-v2"]
    assert not host.bring(replace=True)["changed"]


def test_a_replacement_that_cannot_be_fetched_leaves_what_is_in_place(host):
    host.bring()
    overwrite(host.tree / "config.json", b"x" * len(CONFIG))
    overwrite(host.source / "config.json", b"y" * len(CONFIG))
    assert "Nothing was put in place." in host.refusal(replace=True)
    assert (host.tree / "config.json").read_bytes() == b"x" * len(CONFIG)


def test_a_rename_that_fails_puts_the_old_tree_back(host, monkeypatch):
    host.bring()
    overwrite(host.tree / "config.json", b"x" * len(CONFIG))
    rename = os.rename

    def failing(old: Path, new: Path) -> None:
        if old == host.making:
            raise OSError(5, "Input/output error", str(old))
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    assert "Input/output error" in host.refusal(replace=True)
    assert (host.tree / "config.json").read_bytes() == b"x" * len(CONFIG)


# ---------------------------------------------------------------------------- what is refused

GOOD = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "manifest: this is not JSON"),
        ("[]", "it must be {"),
        ('{"files": {}, "more": 1}', "and nothing else"),
        ('{"files": {}}', "it lists none"),
        ('{"files": []}', "it lists none"),
        ('{"files": {"a": {}, "a": {}}}', "'a' is there twice"),
        ({"files": {"/etc/passwd": GOOD}}, "'/etc/passwd': the path leaves the release's folder"),
        ({"files": {"../a": GOOD}}, "'../a': the path leaves"),
        ({"files": {"a/../../b": GOOD}}, "'a/../../b': the path leaves"),
        ({"files": {"": GOOD}}, "the path is not plain"),
        ({"files": {"./a": GOOD}}, "the path is not plain"),
        ({"files": {"a//b": GOOD}}, "the path is not plain"),
        ({"files": {"a/": GOOD}}, "the path is not plain"),
        ({"files": {"a\nb": GOOD}}, "the path is not plain"),
        ({"files": {"a\0b": GOOD}}, "the path is not plain"),
        ('{"files": {"\\ud800": {}}}', "the path is not plain"),
        ({"files": {"a": GOOD, "a/b": GOOD}}, "'a' is a file, so 'a/b' cannot lie in it"),
        ({"files": {"a": "0" * 64}}, "file 'a': it must have 'sha256' and 'bytes'"),
        ({"files": {"a": {"sha256": "0" * 64}}}, "it must have 'sha256' and 'bytes'"),
        ({"files": {"a": {**GOOD, "md5": ""}}}, "and nothing else"),
        ({"files": {"a": {**GOOD, "sha256": "0" * 63}}}, "is not 64 hexadecimal digits"),
        ({"files": {"a": {**GOOD, "sha256": "g" * 64}}}, "is not 64 hexadecimal digits"),
        ({"files": {"a": {**GOOD, "sha256": "0" * 64 + "\n"}}}, "is not 64 hexadecimal digits"),
        ({"files": {"a": {**GOOD, "sha256": 5}}}, "sha256 5 is not 64"),
        ({"files": {"a": {**GOOD, "bytes": -1}}}, "bytes -1 is not a whole number from 0 up"),
        ({"files": {"a": {**GOOD, "bytes": 1.0}}}, "bytes 1.0 is not a whole number"),
        ({"files": {"a": {**GOOD, "bytes": True}}}, "bytes True is not a whole number"),
        ({"files": {"a": {**GOOD, "bytes": 10**400}}}, "is not a whole number"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_before_anything_is_written(host, text, why):
    said = host.refusal(manifest=text if isinstance(text, str) else json.dumps(text))
    assert said.startswith("manifest:")
    assert why in said
    assert said.endswith("Make it again with make-manifest.")
    assert not host.folder.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", ".hidden", "-rf", "a b", "a\n", "ä", "x" * 201]
)
def test_a_release_has_a_plain_name(host, name):
    assert "it must be a plain folder name" in host.refusal(name=name)
    assert not host.folder.exists()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("models/x", "it must be /a/folder"),
        ("ftp://host/x", "it must be /a/folder"),
        ("file:///etc", "it must be /a/folder"),
        ("-e sh@host:/x", "it must be /a/folder"),
        ("host:x", "it must be /a/folder"),
        ("rsync://host", "it must be /a/folder"),
        ("https://", "this is not a URL"),
        ("https://host:port/x", "this is not a URL"),
        ("https://host/x y", "this is not a URL"),
        ("https://ada:secret@host/x", "Hand them over as a header"),
        ("https://host/x?token=secret", "a token belongs into http_headers"),
    ],
)
def test_a_source_that_is_none_is_refused(host, source, why):
    assert why in host.refusal(source=source)
    assert not host.folder.exists()


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("/srv/models/x", "Folder"),
        ("rsync://mirror:8730/models/x", "Rsync"),
        ("models@mirror.example.net:/srv/x", "Rsync"),
        ("mirror:/srv/x", "Rsync"),
        ("[fd00::7]:/srv/x", "Rsync"),
        ("http://mirror/x/", "Web"),
        ("https://[fd00::7]:8443/x", "Web"),
    ],
)
def test_a_source_is_known_by_its_form(weights, source, kind):
    from ansible.module_utils.coalmine_weights.sources import parse_source

    assert type(parse_source(source, {})).__name__ == kind


@pytest.mark.parametrize(
    "headers", [{"X-Token": f"{TOKEN}\r\nHost: b"}, {"X Token": TOKEN}, {"": TOKEN}]
)
def test_a_header_is_one_line(host, headers):
    why = host.refusal(source="https://host/x", http_headers=headers)
    assert why.endswith("or its value is not one plain line. Mend it.")
    assert TOKEN not in host.output


def test_an_owner_that_the_host_does_not_know_is_named(host):
    why = "owner 'nobody-here': this host does not know it. Make it first."
    assert host.refusal(owner="nobody-here") == why
    result = host.bring(owner="nobody-here", check=True)
    assert result["changed"]
    assert why in str(result["warnings"])


def test_only_the_arguments_are_looked_at_on_request(host):
    result = host.bring(only_arguments=True, folder="/nowhere/models", source="/nowhere/x")
    assert not result["changed"]
    assert result["digest"] == digest(manifest())
    assert "it must be a plain folder name" in host.refusal(only_arguments=True, name="..")


# ---------------------------------------------------------------------------- check mode, room


def test_check_mode_tells_of_a_bare_host_what_would_come_and_writes_nothing(host):
    result = host.bring(check=True)
    assert result["changed"]
    assert result["verified"] is None
    assert "would be fetched" in result["msg"]
    assert "config.json (23 bytes)\n" in result["diff"]["after"]
    assert not host.folder.exists()


def test_in_check_mode_a_source_may_still_be_missing_but_not_be_wrong(host):
    missing = str(host.source / "later")
    result = host.bring(check=True, source=missing)
    assert result["changed"]
    assert f"source {missing}: there is no such folder on this host" in str(result["warnings"])
    assert "Mount it, or name another source." in host.refusal(source=missing)
    (host.source / "config.json").write_bytes(b"")
    assert "config.json: 23 bytes expected by the manifest, 0 found." in host.refusal(check=True)


def test_nothing_is_begun_without_room_for_all_of_it(host, monkeypatch):
    monkeypatch.setattr(host.weights, "free_bytes", lambda folder: 3 * 2**30)
    huge = {"files": {"a": {"sha256": "0" * 64, "bytes": 50 * 2**30 + 2**28}}}
    for check in (True, False):
        why = host.refusal(manifest=huge, source="http://127.0.0.1:9/x", check=check)
        assert why == (f"{host.folder}: chat-v2 needs 50.25 GiB, and 3.00 GiB are free. "
                       "Remove releases that no engine uses.")
        assert not host.tree.exists()


def test_what_an_interrupted_run_left_counts_as_room_in_check_mode(host, monkeypatch):
    write(host.making, {"half": os.urandom(len(SHARD) + 8192)})
    monkeypatch.setattr(host.weights, "free_bytes", lambda folder: 0)
    assert host.bring(check=True)["changed"]
    assert host.making.exists()


def test_a_full_disk_is_named_and_nothing_is_put_in_place(host, monkeypatch):
    def full(source: Path, to: Path) -> None:
        raise OSError(28, "No space left on device", str(to))

    monkeypatch.setattr(shutil, "copyfile", full)
    why = host.refusal()
    assert "No space left on device. Nothing was put in place." in why
    assert not host.tree.exists()
    assert not host.making.exists()


# ---------------------------------------------------------------------------- interrupted runs


@pytest.mark.parametrize("check", [True, False])
def test_leftovers_of_an_interrupted_run_are_not_trusted(host, check):
    write(host.making, {**FILES, "config.json": b"x" * len(CONFIG), "more": b"more"})
    for path in [host.making, *host.making.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert host.bring(check=check)["changed"]
    assert host.making.exists() is check
    assert host.tree.exists() is not check
    assert check or contents(host.tree) == FILES


def test_leftovers_beside_a_release_in_place_are_removed(host):
    host.bring()
    write(host.making)
    write(host.folder / ".aside-chat-v2")
    result = host.bring()
    assert result["changed"]
    assert "leftovers of an interrupted run removed" in result["msg"]
    assert sorted(path.name for path in host.folder.iterdir()) == [".stamps", "chat-v2"]
    assert not host.bring()["changed"]


def test_a_run_that_is_killed_leaves_nothing_in_place_and_the_next_one_succeeds(
    host, mirror, until
):
    mirror.acts["/chat-v2/shards/one.safetensors"] = [mirror.stall]
    with host.process(source=mirror.url) as process:
        until((host.making / "shards/one.safetensors").exists)
        assert host.refusal() == f"{host.tree}: another run is at it. Wait until that has ended."
        process.kill()
    mirror.release.set()
    assert host.making.exists()
    assert not host.tree.exists()
    assert host.bring(source=mirror.url)["changed"]
    assert contents(host.tree) == FILES


def test_two_runs_do_not_work_on_one_release(host):
    host.bring()
    with open(host.folder / ".stamps" / "chat-v2.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at it" in host.refusal()
    assert not host.bring()["changed"]


# ---------------------------------------------------------------------------- a folder as source


def test_a_wrong_byte_at_the_source_is_named_and_nothing_is_put_in_place(host):
    overwrite(host.source / "shards/one.safetensors", damaged(SHARD))
    why = host.refusal()
    assert why.startswith(f"{host.source}/shards/one.safetensors: sha256 {sha256(SHARD)} expected "
                          f"by the manifest, {sha256(damaged(SHARD))} found.")
    assert "Nothing was put in place. Mend the source" in why
    assert not host.tree.exists()
    assert not host.making.exists()


def test_a_file_that_the_source_lacks_is_named(host):
    (host.source / "config.json").unlink()
    assert host.refusal() == f"{host.source}/config.json: there is no such file."


def test_a_link_out_of_the_source_is_refused_and_one_within_is_followed(host):
    (host.source / "config.json").rename(host.source / "blob")
    (host.source / "config.json").symlink_to("blob")
    host.bring()
    assert not (host.tree / "config.json").is_symlink()
    (host.source / "blob").rename(host.source.parent / "blob")
    (host.source / "config.json").unlink()
    (host.source / "config.json").symlink_to("../blob")
    why = host.refusal(name="other")
    assert why.startswith(f"{host.source}/config.json: it is a link that leaves the source")
    assert not (host.folder / "other").exists()


def test_files_that_the_manifest_does_not_list_stay_at_the_source(host):
    write(host.source, {"notes.txt": b"mine"})
    host.bring()
    assert contents(host.tree) == FILES


# ---------------------------------------------------------------------------- a web server

Act = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Serves what the mirror holds, unless an act is due."""

    def do_GET(self) -> None:
        mirror: Mirror = self.server.mirror
        mirror.asked.append((self.path, self.headers.get("Authorization")))
        acts = mirror.acts.get(self.path, [])
        if acts:
            acts.pop(0)(self)
            return
        body = mirror.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.give(body)

    def give(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        if length != -1:
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class Mirror:
    """A web server with a release."""

    def __init__(self, context: ssl.SSLContext | None = None):
        self.bodies = {f"/chat-v2/{path}": body for path, body in FILES.items()}
        self.acts: dict[str, list[Act]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.mirror = self
        self.server.handle_error = lambda *_: None  # a client may go away
        scheme = "http"
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.origin = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{self.origin}/chat-v2"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def stall(self, handler: Handler) -> None:
        """Send a half and fall silent."""
        body = self.bodies[handler.path]
        handler.give(body[:-1000], len(body))
        self.release.wait(30)

    def break_off(self, handler: Handler) -> None:
        body = self.bodies[handler.path]
        handler.give(body[:-1000], len(body))

    def asked_for(self, path: str) -> int:
        return [at for at, _ in self.asked].count(f"/chat-v2/{path}")


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    mirror = Mirror()
    yield mirror
    mirror.stop()


SHARD_URL = "/chat-v2/shards/one.safetensors"


def test_a_release_comes_from_a_web_server(host, mirror):
    assert host.bring(source=f"{mirror.url}/")["verified"] == "read"
    assert contents(host.tree) == FILES
    assert len(mirror.asked) == len(FILES)
    assert not host.bring(source=mirror.url)["changed"]
    assert len(mirror.asked) == len(FILES)


def test_a_web_server_is_not_asked_in_check_mode(host, mirror):
    assert host.bring(source=mirror.url, check=True)["changed"]
    assert mirror.asked == []


def test_a_path_is_quoted_in_a_url(host, mirror):
    mirror.bodies["/chat-v2/sub/a%20%3F%C3%A9.txt"] = CONFIG
    host.bring(source=mirror.url, manifest=manifest({"sub/a ?é.txt": CONFIG}))
    assert contents(host.tree) == {"sub/a ?é.txt": CONFIG}


def test_a_wrong_byte_on_the_way_is_named_and_nothing_is_put_in_place(host, mirror):
    mirror.bodies[SHARD_URL] = damaged(SHARD)
    why = host.refusal(source=mirror.url)
    assert why.startswith(f"{mirror.url}/shards/one.safetensors: sha256 {sha256(SHARD)} expected "
                          f"by the manifest, {sha256(damaged(SHARD))} found.")
    assert "Nothing was put in place." in why
    assert not host.tree.exists()
    assert not host.making.exists()


def test_a_body_that_breaks_off_is_asked_for_once_more(host, mirror):
    mirror.acts[SHARD_URL] = [mirror.break_off]
    assert host.bring(source=mirror.url)["changed"]
    assert contents(host.tree) == FILES
    assert mirror.asked_for("shards/one.safetensors") == 2


@pytest.mark.parametrize("length", [None, -1], ids=["told", "not told"])
def test_a_body_that_breaks_off_twice_is_not_accepted(host, mirror, length):
    def break_off(handler: Handler) -> None:
        handler.give(SHARD[:-1000], len(SHARD) if length is None else length)

    mirror.acts[SHARD_URL] = [break_off] * 3
    why = host.refusal(source=mirror.url)
    assert why.startswith(f"{mirror.origin}{SHARD_URL}: ")
    assert mirror.asked_for("shards/one.safetensors") == 2
    assert not host.tree.exists()
    assert not host.making.exists()


def test_a_body_that_is_too_long_is_not_read_to_its_end(host, mirror):
    def endless(handler: Handler) -> None:
        handler.give(b"", -1)
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"0" * 65536)

    mirror.acts[SHARD_URL] = [endless]
    assert f"{len(SHARD)} bytes expected by the manifest, more found." in host.refusal(
        source=mirror.url
    )
    assert not host.making.exists()


def test_a_file_of_another_size_is_not_even_fetched(host, mirror):
    mirror.bodies[SHARD_URL] = SHARD + b"0"
    assert f"{len(SHARD)} bytes expected by the manifest, {len(SHARD) + 1} found." in host.refusal(
        source=mirror.url
    )
    assert mirror.asked_for("shards/one.safetensors") == 1


def test_a_file_that_the_server_lacks_is_not_asked_for_again(host, mirror):
    del mirror.bodies["/chat-v2/config.json"]
    why = host.refusal(source=mirror.url)
    assert why.startswith(f"{mirror.url}/config.json: the server says 404 Not Found.")
    assert mirror.asked_for("config.json") == 1


def test_a_server_in_trouble_is_asked_once_more(host, mirror):
    mirror.acts[SHARD_URL] = [lambda handler: handler.send_error(503)]
    assert host.bring(source=mirror.url)["changed"]
    mirror.acts[SHARD_URL] = [lambda handler: handler.send_error(503)] * 3
    assert "the server says 503" in host.refusal(source=mirror.url, name="other")
    assert not (host.folder / "other").exists()


def test_a_server_that_falls_silent_is_not_waited_for_forever(host, mirror, monkeypatch):
    monkeypatch.setattr(f"{PARTS}.web.SILENCE", 0.2)
    mirror.acts[SHARD_URL] = [mirror.stall] * 2
    assert "timed out" in host.refusal(source=mirror.url)
    assert not host.making.exists()


def test_a_server_that_is_not_there_is_named(host, mirror):
    mirror.stop()
    assert f"{mirror.url}/config.json: " in host.refusal(source=mirror.url)


def test_headers_are_sent_and_never_shown(host, mirror):
    headers = {"Authorization": TOKEN}
    del mirror.bodies[SHARD_URL]
    host.refusal(source=mirror.url, http_headers=headers)
    assert TOKEN not in host.output
    mirror.bodies[SHARD_URL] = SHARD
    host.bring(source=mirror.url, http_headers=headers)
    assert TOKEN not in host.output
    assert {sent for _, sent in mirror.asked} == {TOKEN}


def redirect(to: str) -> Act:
    def act(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return act


def test_headers_follow_a_redirect_to_the_same_server_only(host, mirror):
    other = Mirror()
    try:
        mirror.bodies["/moved"] = CONFIG
        mirror.acts["/chat-v2/config.json"] = [redirect("/moved")]
        mirror.acts[SHARD_URL] = [redirect(other.origin + SHARD_URL)]
        host.bring(source=mirror.url, http_headers={"Authorization": TOKEN})
    finally:
        other.stop()
    assert contents(host.tree) == FILES
    assert ("/moved", TOKEN) in mirror.asked
    assert other.asked == [(SHARD_URL, None)]


def test_a_redirect_to_a_file_of_the_host_is_refused(host, mirror):
    mirror.acts["/chat-v2/config.json"] = [redirect(f"file://{host.source}/config.json")] * 2
    host.refusal(source=mirror.url)
    mirror.acts["/chat-v2/config.json"] = [redirect("ftp://127.0.0.1/config.json")] * 2
    assert "it redirects from http to ftp, which is less safe" in host.refusal(source=mirror.url)


@pytest.fixture
def secure(tmp_path) -> Iterator[Mirror]:
    """A mirror with a certificate of its own, and nobody who vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mirror")])
    now = datetime.datetime.now(datetime.timezone.utc)
    at = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(1).not_valid_before(now - day)
        .not_valid_after(now + day).add_extension(at, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "mirror.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    mirror = Mirror(context)
    yield mirror
    mirror.stop()


def test_a_certificate_is_checked(host, secure, tmp_path, monkeypatch):
    assert "CERTIFICATE_VERIFY_FAILED" in host.refusal(source=secure.url)
    assert secure.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mirror.pem"))
    host.bring(source=secure.url)
    assert contents(host.tree) == FILES


def test_https_stays_https(host, secure, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mirror.pem"))
    secure.acts["/chat-v2/config.json"] = [redirect(f"{mirror.url}/config.json")]
    assert "it redirects from https to http, which is less safe" in host.refusal(source=secure.url)
    assert mirror.asked == []


# ---------------------------------------------------------------------------- rsync


@pytest.fixture
def rsync(tmp_path, monkeypatch) -> Path:
    """In place of ssh a shell on this machine; returns a note of what it was asked."""
    if shutil.which("rsync") is None:
        pytest.skip("needs rsync")
    note, shell = tmp_path / "asked", tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\necho "$*" >>{note}\n'
                     'while test "$1" != rsync; do shift; done\nexec sh -c "$*"\n')
    shell.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(shell))
    return note


def test_a_release_comes_by_rsync(host, rsync):
    write(host.source, {"notes.txt": b"mine"})
    (host.source / "config.json").rename(host.source.parent / "blob")
    (host.source / "config.json").symlink_to("../blob")
    assert host.bring(source=f"models@mirror:{host.source}")["verified"] == "read"
    assert contents(host.tree) == FILES
    assert not (host.tree / "config.json").is_symlink()
    assert rsync.read_text().startswith("-l models mirror rsync --server --sender")
    assert not host.bring(source=f"models@mirror:{host.source}")["changed"]
    assert len(rsync.read_text().splitlines()) == 1


def test_a_wrong_byte_by_rsync_is_named_and_nothing_is_put_in_place(host, rsync):
    overwrite(host.source / "shards/one.safetensors", damaged(SHARD))
    why = host.refusal(source=f"mirror:{host.source}")
    assert why.startswith(f"mirror:{host.source}/shards/one.safetensors: sha256 "
                          f"{sha256(SHARD)} expected")
    assert not host.tree.exists()
    assert not host.making.exists()


def test_what_rsync_complains_of_is_told(host, rsync):
    why = host.refusal(source=f"mirror:{host.source}/nowhere")
    assert why.startswith(f"source mirror:{host.source}/nowhere: rsync ended with 23: ")
    assert "No such file or directory" in why
    assert not host.making.exists()


def test_a_file_that_rsync_does_not_find_is_named(host, rsync):
    (host.source / "config.json").unlink()
    assert f"mirror:{host.source}/config.json: there is no such plain file." in host.refusal(
        source=f"mirror:{host.source}"
    )


def test_rsync_takes_names_as_they_are(host, rsync):
    odd = {"a*b": b"1", "a\\b": b"2", "s[1]/x\\*y?": b"3", "# no": b"4", " s p ": b"5"}
    write(host.source, {**odd, "aXb": b"", "s1/x*yz": b"", "s[1]/x*yz": b""})
    result = host.bring(source=f"mirror:{host.source}/", manifest=manifest(odd))
    assert result["changed"], result
    assert contents(host.tree) == odd


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_daemon_that_does_not_chroot_gives_a_folder_of_its_module(host, tmp_path, until):
    if shutil.which("rsync") is None:
        pytest.skip("needs rsync")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stay_root = "uid = 0\ngid = 0\n" if os.getuid() == 0 else ""
    (tmp_path / "rsyncd.conf").write_text(
        f"use chroot = no\n{stay_root}[models]\npath = {tmp_path}\n")
    daemon = subprocess.Popen(
        ["rsync", "--daemon", "--no-detach", f"--config={tmp_path}/rsyncd.conf",
         f"--port={port}", "--address=127.0.0.1"])
    try:
        until(lambda: is_open(port))
        host.bring(source=f"rsync://127.0.0.1:{port}/models/source")
    finally:
        daemon.terminate()
        daemon.wait()
    assert contents(host.tree) == FILES


def test_a_pipe_at_the_source_is_no_file(host, rsync):
    (host.source / "shards/empty").unlink()
    os.mkfifo(host.source / "shards/empty")
    assert "shards/empty: there is no such plain file" in host.refusal(
        source=f"mirror:{host.source}"
    )


def test_a_host_without_rsync_is_told_what_to_do(host, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    why = "rsync: it is not on this host. Install the package rsync."
    assert host.refusal(source="rsync://mirror/models/x") == why
    result = host.bring(source="rsync://mirror/models/x", check=True)
    assert why in str(result["warnings"])


# ---------------------------------------------------------------------------- make-manifest


def make_manifest(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(MAKE_MANIFEST), str(folder)], capture_output=True, text=True,
                          check=False)


def test_a_manifest_is_made_of_a_folder(tmp_path):
    made = make_manifest(write(tmp_path / "x", {**FILES, ".hidden": b"too", "Ä": b""}))
    assert made.returncode == 0, made.stderr
    files = json.loads(made.stdout)["files"]
    assert files == manifest({**FILES, ".hidden": b"too", "Ä": b""})["files"]
    assert list(files) == sorted(files)


def test_what_it_makes_the_module_takes(host):
    host.bring(manifest=make_manifest(host.source).stdout)
    assert contents(host.tree) == FILES


def test_a_link_within_the_folder_is_read(tmp_path):
    write(tmp_path / "x", {"blob": CONFIG})
    (tmp_path / "x/config.json").symlink_to("blob")
    assert json.loads(make_manifest(tmp_path / "x").stdout) == manifest(
        {"blob": CONFIG, "config.json": CONFIG}
    )


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda at: (at / "out").symlink_to("../beside"), "out: a link that leaves the folder"),
        (lambda at: (at / "dir").symlink_to("shards"), "dir: a link to a folder"),
        (lambda at: (at / "gone").symlink_to("nothing"), "gone: not a plain file"),
        (lambda at: os.mkfifo(at / "pipe"), "pipe: not a plain file"),
        (lambda at: (at / "void").mkdir(), "void: an empty folder"),
        (lambda at: (at / "a\nb").touch(), "not a plain name"),
        (lambda at: shutil.rmtree(at / "shards") or (at / "config.json").unlink(), "no files in"),
        (shutil.rmtree, "No such file or directory"),
    ],
)
def test_a_manifest_leaves_nothing_out_silently(tmp_path, harm, why):
    write(tmp_path, {"beside": b""})
    harm(write(tmp_path / "x"))
    made = make_manifest(tmp_path / "x")
    assert made.returncode == 1
    assert made.stderr.startswith("make-manifest: ")
    assert why in made.stderr
    assert made.stdout == ""


def test_it_says_how_it_is_used():
    used = subprocess.run([str(MAKE_MANIFEST)], capture_output=True, text=True, check=False)
    assert used.returncode == 1
    assert "make-manifest FOLDER > manifest.json" in used.stderr


# ---------------------------------------------------------------------------- the role


@pytest.mark.parametrize("path", [
    ROOT / MODULE, *sorted((ROLE / "module_utils").rglob("*.py")), MAKE_MANIFEST,
], ids=lambda path: path.name)
def test_what_runs_on_hosts_is_python_3_9(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


def test_the_roles_defaults_are_those_that_it_documents():
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())
    options = options["argument_specs"]["main"]["options"]
    documented = {name: option["default"] for name, option in options.items()
                  if "default" in option}
    assert yaml.safe_load((ROLE / "defaults/main.yml").read_text()) == documented


def run(tmp_path: Path, releases: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    """Run the role on this machine."""
    return play("weights", tmp_path, weights_folder=str(tmp_path / "models"),
                weights_releases=releases, weights_owner=str(os.getuid()),
                weights_group=str(os.getgid()))


def test_the_role_brings_releases_by_their_manifests(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(manifest()))
    release = {"name": "chat-v2", "manifest": str(tmp_path / "one.json"),
               "source": str(write(tmp_path / "source"))}
    played = run(tmp_path, [release])
    assert played.returncode == 0, played.stdout
    assert contents(tmp_path / "models/chat-v2") == FILES


def test_the_role_refuses_before_it_brings_anything(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(manifest()))
    (tmp_path / "two.json").write_text('{"files": {"a": 1, "a": 2}}')
    source = str(write(tmp_path / "source"))
    one = {"name": "one", "manifest": str(tmp_path / "one.json"), "source": source}
    two = {"name": "two", "manifest": str(tmp_path / "two.json"), "source": source}
    assert "manifest: 'a' is there twice" in run(tmp_path, [one, two]).stdout
    said = " ".join(run(tmp_path, [one, one]).stdout.split())
    assert "a name is there twice among one, one" in said
    assert not (tmp_path / "models").exists()

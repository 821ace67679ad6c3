"""The role `certificate`: what fits, and how services look whether they serve with it."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROLES = Path(__file__).parents[2] / "roles"


def fits(*arguments: str | Path) -> tuple[int, str]:
    """Call the role's own check."""
    done = subprocess.run([sys.executable, ROLES / "certificate/files/certificate-fits",
                           *arguments], check=False, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def test_a_certificate_fits_that_all_who_call_the_host_accept(authority: Any) -> None:
    host = authority.issue("gw1", "10.0.0.5", "fd00::5")
    assert fits(host, authority.path, "gw1", "10.0.0.5", "fd00::5") == (0, "")


def test_every_name_that_it_lacks_is_told(authority: Any) -> None:
    code, said = fits(authority.issue("gw1"), authority.path, "gw1", "gw2", "10.0.0.5")
    assert code == 1
    assert "refused for gw2: " in said
    assert "refused for 10.0.0.5: " in said
    assert "for gw1" not in said


def test_another_authoritys_does_not_fit(authority: Any, stranger: Any) -> None:
    code, said = fits(stranger.issue("gw1"), authority.path, "gw1")
    assert (code, "unable to get local issuer certificate" in said) == (1, True)


def test_one_that_has_expired_does_not_fit(authority: Any) -> None:
    code, said = fits(authority.issue("gw1", days=-1), authority.path, "gw1")
    assert (code, "certificate has expired" in said) == (1, True)


def test_an_end_that_is_near_is_told(authority: Any) -> None:
    code, said = fits(authority.issue("gw1", days=0.25), authority.path, "gw1")  # of 2.25
    assert code == 0
    assert said.startswith("it ends in 0.2 days, on ")
    assert said.endswith(": renew it\n")


def test_the_key_of_another_does_not_fit(authority: Any, tmp_path: Path) -> None:
    one, other = (authority.issue("gw1", file=name).read_text().partition("-----BEGIN PRIV")
                  for name in ("one.pem", "other.pem"))
    (tmp_path / "mixed.pem").write_text(one[0] + other[1] + other[2])
    code, said = fits(tmp_path / "mixed.pem", authority.path, "gw1")
    assert (code, "not of one pair" in said) == (1, True)


@pytest.mark.parametrize("nothing", ["certificate", "authority"])
def test_what_is_no_certificate_is_told(authority: Any, tmp_path: Path, nothing: str) -> None:
    (tmp_path / "empty").write_text("")
    host = authority.issue("gw1")
    given = (tmp_path / "empty", authority.path) if nothing == "certificate" else (
        host, tmp_path / "empty")
    code, said = fits(*given, "gw1")
    assert code == 1
    assert "Traceback" not in said


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer()

    def _answer(self) -> None:
        body = json.dumps({"mode": "normal", "state": "up", "choices": [{"text": "yes"}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Callable[[Path], int]]:
    """Serves with a certificate on a port of 127.0.0.1, which it returns."""
    running = []

    def start(host: Path) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(host)
        one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        one.handle_error = lambda *_: None  # type: ignore[method-assign]
        one.socket = context.wrap_socket(one.socket, server_side=True)
        threading.Thread(target=one.serve_forever, daemon=True).start()
        running.append(one)
        return int(one.server_address[1])

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def ready(program: str, port: int, authority: Any, name: str, folder: Path) -> tuple[int, str]:
    """Call gateway-ready or vllm-ready, for three seconds at most."""
    url = f"https://127.0.0.1:{port}"
    if program == "gateway":
        arguments = [url, str(os.getpid()), authority.path, name]
    else:
        (folder / "ready.json").write_text(json.dumps({
            "url": url, "model": "chat-v1", "warm_up": ["Hi"], "authority": str(authority.path),
            "name": name}))
        arguments = [folder / "ready.json", str(os.getpid())]
    try:
        done = subprocess.run([sys.executable, ROLES / f"{program}/files/{program}-ready",
                               *arguments], check=False, text=True, capture_output=True, timeout=3)
    except subprocess.TimeoutExpired as waited:
        return 124, (waited.stdout or b"").decode()
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", ["gateway", "vllm"])
def test_it_is_ready_when_others_will_accept_its_certificate(
    program: str, server: Callable[[Path], int], authority: Any, stranger: Any, tmp_path: Path
) -> None:
    """Though it is asked at 127.0.0.1, which no certificate names."""
    port = server(authority.issue("gw1"))
    assert ready(program, port, authority, "gw1", tmp_path)[0] == 0
    code, said = ready(program, port, authority, "gw2", tmp_path)
    assert (code, "not valid for 'gw2'" in said) == (124, True)
    code, said = ready(program, port, stranger, "gw1", tmp_path)
    assert (code, "CERTIFICATE_VERIFY_FAILED" in said) == (124, True)

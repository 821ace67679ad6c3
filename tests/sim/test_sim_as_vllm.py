"""A simulated engine behind vLLM's command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = {"model": "chat-v2", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"authorization": "Bearer sk-engine"}


def start(model: Path, port: int, *more: str) -> subprocess.Popen[str]:
    """Start one as the unit does, with flags that only a real one knows."""
    return subprocess.Popen(
        [sys.executable, "-m", "coalmine.sim.as_vllm", "--model", str(model),
         "--served-model-name", "chat-v2", "chat", "--host", "127.0.0.1", "--port", str(port),
         "--gpu-memory-utilization", "0.45", "--enforce-eager", "--shutdown-timeout", "1", *more],
        env={**os.environ, "VLLM_API_KEY": "sk-engine"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def client(tmp_path: Path, port: int) -> Iterator[httpx.Client]:
    """A client of a running one, whose model is release v2."""
    (tmp_path / "release.json").write_text(json.dumps({"release": "v2", "tokens": 3}))
    engine = start(tmp_path, port)
    assert engine.stdout is not None
    assert engine.stdout.readline().startswith("ready ")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        yield http
    engine.send_signal(signal.SIGTERM)
    _, said = engine.communicate(timeout=10)
    assert (engine.returncode, said) == (0, "")


def test_it_answers_for_the_release_that_its_model_is_of(client: httpx.Client) -> None:
    """By both names; another is not there, so nobody takes it for another release."""
    for name in ("chat-v2", "chat"):
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": name}, headers=KEY)
        assert answer.json()["choices"][0]["message"]["content"].startswith("[v2] ")
        assert answer.json()["model"] == "chat-v2"
    other = client.post("/v1/chat/completions", json={**CHAT, "model": "chat-v1"}, headers=KEY)
    assert other.status_code == 404


@pytest.mark.parametrize("given", [{}, {"authorization": "Bearer sk-engin"}])
def test_it_asks_for_its_key(client: httpx.Client, given: dict[str, str]) -> None:
    """Not for health and metrics."""
    answer = client.post("/v1/chat/completions", json=CHAT, headers=given)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
    assert client.get("/health").status_code == client.get("/metrics").status_code == 200


def test_it_shows_a_certificate_and_takes_a_newer_one(
    tmp_path: Path, port: int, authority: Any, until: Callable[..., Any]
) -> None:
    """Without a restart, as vLLM does."""
    (tmp_path / "release.json").write_text(json.dumps({"release": "v2", "tokens": 3}))
    file = str(authority.issue("127.0.0.1"))
    engine = start(tmp_path, port, "--ssl-certfile", file, "--ssl-keyfile", file,
                   "--enable-ssl-refresh")
    try:
        assert engine.stdout is not None
        assert engine.stdout.readline() == f"ready https://127.0.0.1:{port}\n"

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port), ca_certs=str(authority.path))

        trusted = ssl.create_default_context(cafile=str(authority.path))
        with httpx.Client(verify=trusted, trust_env=False) as client:
            asked = client.post(
                f"https://127.0.0.1:{port}/v1/chat/completions", json=CHAT, headers=KEY)
            assert asked.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        for _ in range(2):
            before = shown()
            Path(file).write_bytes(authority.issue("127.0.0.1", file="newer.pem").read_bytes())
            assert until(lambda before=before: shown() != before)
    finally:
        engine.send_signal(signal.SIGTERM)
        _, said = engine.communicate(timeout=10)
    assert (engine.returncode, said) == (0, "")


@pytest.mark.parametrize(("held", "said"), [
    (None, "No such file"),
    ("{", "cannot load"),
    ("{}", "release.json names no release"),
    ('{"release": "v1", "speed": 3}', "speed"),
])
def test_it_ends_when_its_model_cannot_be_loaded(
    tmp_path: Path, port: int, held: str | None, said: str
) -> None:
    """With the reason."""
    if held is not None:
        (tmp_path / "release.json").write_text(held)
    engine = start(tmp_path, port)
    _, complaint = engine.communicate(timeout=20)
    assert engine.returncode == 1
    assert said in complaint

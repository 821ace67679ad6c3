"""Errors over HTTP: every one has a status, and all have the same form."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.errors import STATUS, error_response, status_of
from coalmine.release import CoalmineError
from coalmine.state import StateUnreachable

Make = Callable[..., Any]
ADMIN = {"authorization": "Bearer sk-admin"}


def all_errors() -> list[type[CoalmineError]]:
    import coalmine.cli.client_errors
    import coalmine.gateway.policy_source  # noqa: F401 - every room's errors are known then

    found: list[type[CoalmineError]] = []
    waiting: list[type[CoalmineError]] = [CoalmineError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_body(kind: type[CoalmineError]) -> None:
    """Also one that was added yesterday."""
    error = kind.__new__(kind)
    CoalmineError.__init__(error, "what is wrong", "what to do")
    answer = error_response(error)
    assert answer.status_code == status_of(error) in {*STATUS.values()}
    assert json.loads(bytes(answer.body)) == {
        "error": {"code": kind.code, "message": "what is wrong", "hint": "what to do"}}


def test_what_the_state_did_is_never_the_clients_fault() -> None:
    """503 for all of its errors."""
    assert {status_of(kind("x")) for kind in all_errors() if issubclass(kind, StateUnreachable)
            } == {503}


@pytest.mark.parametrize(("method", "path", "allow"), [
    ("GET", "/api/services/chat/start", "POST"), ("GET", "/api/services/chta/rollback", "POST"),
    ("GET", "/api/services/chat/releases/v3", "PUT"), ("DELETE", "/api/services/chat", "GET"),
    ("POST", "/api/services/chat/history", "GET"), ("POST", "/api/services", "GET"),
    ("PUT", "/api/services/chat/start", "POST"), ("POST", "/metrics", "GET"),
    ("GET", "/alertmanager", "POST"), ("PATCH", "/healthz", "GET"),
])
def test_another_method_than_a_path_takes_is_405_with_allow(
    api: Make, error_of: Make, method: str, path: str, allow: str
) -> None:
    """And says which one to use."""
    answer = api().client.request(method, f"/coalmine{path}", headers=ADMIN)
    error = error_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
    assert error["hint"] == f"use {allow}"


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/"), ("GET", "/nothing"), ("POST", "/api"), ("PURGE", "/api/x/y"),
    ("DELETE", "/api/service/chat"), ("OPTIONS", "/x"),
])
def test_a_path_that_is_none_is_404_whatever_the_method(
    api: Make, error_of: Make, method: str, path: str
) -> None:
    """With the paths that there are; with or without a key."""
    error = error_of(api().client.request(method, f"/coalmine{path}"), 404, "not_found")
    assert "/coalmine/api/services/{service}/start" in error["hint"]


@pytest.mark.parametrize(("path", "status", "body"), [
    ("/health", 200, '"LiteLLM\'s"'), ("/coalmines", 404, '{"detail":"Not Found"}'),
    ("/v1/chat/completions", 404, '{"detail":"Not Found"}'),
])
def test_what_is_not_below_coalmine_is_left_to_litellm(
    api: Make, path: str, status: int, body: str
) -> None:
    """Our routes stand before its own."""
    answer = api().client.get(path)
    assert (answer.status_code, answer.text) == (status, body)


def test_a_slash_too_many_is_named(api: Make, error_of: Make) -> None:
    """Nothing is redirected: a key would go along."""
    error = error_of(api().client.get("/coalmine/metrics/"), 404, "not_found")
    assert error["hint"] == "write /coalmine/metrics, without the slash"


@pytest.mark.parametrize(("body", "kind"), [
    (b"[]", "an array"), (b'"v2"', "a text"), (b"null", "null"), (b"7", "a number"),
    (b"true", "true or false"),
])
def test_a_body_that_is_no_object_says_what_it_is(
    api: Make, error_of: Make, body: bytes, kind: str
) -> None:
    """And which fields there are."""
    answer = api().client.post("/coalmine/api/services/chat/start", content=body, headers=ADMIN)
    error = error_of(answer, 422, "bad_request")
    assert error["message"] == f"the body must be a JSON object such as {{}}, not {kind}"
    assert "release" in error["hint"]

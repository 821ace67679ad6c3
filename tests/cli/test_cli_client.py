"""The HTTP client against a real server, and its tables."""

from __future__ import annotations

import datetime
import inspect
import ipaddress
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coalmine.cli.client import (
    BadAnswer,
    Client,
    ClientError,
    Misconfigured,
    Refused,
    Unreachable,
)
from coalmine.cli.client_errors import EXCEPTIONS, from_exception


@pytest.fixture
def client(gateway, key):
    return Client(gateway.url, key, timeout=(5.0, 10.0))


@pytest.fixture
def hasty(gateway, key):
    """One that soon gives up."""
    return Client(gateway.url, key, timeout=(5.0, 0.3))


def test_every_method_asks_what_the_contract_says(gateway, client):
    client.services()
    client.service("chat")
    client.history("chat")
    client.healthz()
    client.pause("chat", reason="looking", epoch=17)
    client.resume("chat")
    client.promote("chat", full=True)
    client.rollback("chat", "slow", to="v1")
    client.register("chat", "v3", "green", "sha256:abcdef01")
    gateway.services["chat"]["phase"] = "idle"
    client.start("chat", "v3", "nightly", epoch=21)
    api = "/coalmine/api/services"
    assert gateway.asked == [
        ("GET", api, None),
        ("GET", f"{api}/chat", None),
        ("GET", f"{api}/chat/history", None),
        ("GET", "/coalmine/healthz", None),
        ("POST", f"{api}/chat/pause", {"reason": "looking", "epoch": 17}),
        ("POST", f"{api}/chat/resume", {}),
        ("POST", f"{api}/chat/promote", {"full": True}),
        ("POST", f"{api}/chat/rollback", {"reason": "slow", "to": "v1"}),
        ("PUT", f"{api}/chat/releases/v3", {"slot": "green", "digest": "sha256:abcdef01"}),
        ("POST", f"{api}/chat/start", {"release": "v3", "reason": "nightly", "epoch": 21}),
    ]


def test_the_answer_is_the_apis_json_as_it_is(gateway, client):
    assert client.service("chat") == gateway.services["chat"]
    assert client.services() == {"services": [gateway.services["chat"]]}


def test_a_root_path_is_kept(gateway, key):
    with pytest.raises(BadAnswer):
        Client(gateway.url + "/llm/", key).services()
    assert gateway.asked[0][1] == "/llm/coalmine/api/services"


def test_a_name_with_a_slash_stays_one_name(gateway, client):
    gateway.services["openai/gpt ä"] = {**gateway.services["chat"], "service": "openai/gpt ä"}
    assert client.service("openai/gpt ä")["service"] == "openai/gpt ä"
    assert gateway.asked[0][1] == "/coalmine/api/services/openai%2Fgpt%20%C3%A4"


class TestTheKey:
    def test_goes_into_the_authorization_header_and_nowhere_else(self, gateway, client, key):
        client.pause("chat", reason="looking")
        assert gateway.headers[0].pop("authorization") == f"Bearer {key}"
        assert key not in repr((gateway.asked, gateway.headers, client))

    def test_that_is_missing_is_named_with_what_to_do(self, gateway):
        with pytest.raises(Refused, match="COALMINE_KEY") as caught:
            Client(gateway.url).services()
        assert caught.value.status == 401
        assert "authorization" not in gateway.headers[0]

    @pytest.mark.parametrize("given", [None, "sk-1"])
    def test_is_never_replaced_by_a_netrc(self, gateway, tmp_path, monkeypatch, acts, given):
        (tmp_path / ".netrc").write_text("machine gw.invalid login root password geheim\n")
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setenv("http_proxy", gateway.url)  # which so gets requests for any host
        gateway.next(acts.says(200, {"services": []}))
        Client("http://gw.invalid", given).services()
        assert gateway.headers[0].get("authorization") == (given and f"Bearer {given}")

    def test_is_not_sent_after_a_redirect(self, gateway, client, acts):
        gateway.next(acts.says(307, {}, location=f"{gateway.url}/elsewhere"))
        with pytest.raises(BadAnswer, match=r"redirects to .*/elsewhere") as caught:
            client.services()
        assert caught.value.status == 307
        assert len(gateway.asked) == 1

    def test_is_taken_out_of_what_the_proxy_says(self, gateway, client, key, acts):
        body = {"error": {"code": key, "message": f"invalid {key}", "hint": f"not {key}"}}
        gateway.next(acts.says(401, body))
        with pytest.raises(Refused) as caught:
            client.services()
        assert str(caught.value) == "invalid *** (not ***)"
        assert key not in repr((caught.value, vars(caught.value)))

    @pytest.mark.parametrize("bad", ["two words", "sk-1\r\nX-Evil: 1", "schlüssel", "sk\x00"])
    def test_that_no_header_may_hold_is_refused_unquoted(self, gateway, bad):
        with pytest.raises(Misconfigured) as caught:
            Client(gateway.url, bad)
        assert bad not in str(caught.value)

    def test_may_have_the_line_break_of_its_file(self, gateway, key):
        assert Client(gateway.url, key + "\n").services()


class TestTheAddress:
    @pytest.mark.parametrize(
        "url", ["", "gw:4000", "ftp://gw", "http://", "http://gw:port", "http://gw/?a=1",
                "http://[::1", "ada:geheim@gw", "http://ada:geheim@gw"],
    )
    def test_that_cannot_be_used_is_refused_before_anything_is_sent(self, url):
        with pytest.raises(Misconfigured) as caught:
            Client(url)
        assert "geheim" not in str(caught.value)

    def test_of_this_host_goes_past_an_http_proxy(self, gateway, client, closed_port, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
        assert client.services()

    def test_of_another_host_goes_through_the_http_proxy(self, closed_port, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
        with pytest.raises(Unreachable, match=r"HTTP proxy on the way to http://gw\.invalid"):
            Client("http://gw.invalid").services()


class TestNoAnswer:
    def test_of_a_closed_port_is_unreachable(self, closed_port, key):
        with pytest.raises(Unreachable, match="connection refused"):
            Client(f"http://127.0.0.1:{closed_port}", key).services()

    def test_of_a_proxy_that_hangs_is_unreachable_in_time(self, gateway, hasty, acts):
        gateway.next(acts.hangs)
        with pytest.raises(Unreachable, match="did not answer in time") as caught:
            hasty.services()
        assert not caught.value.hint

    def test_to_a_change_leaves_its_outcome_open_and_says_so(self, gateway, hasty, acts, until):
        gateway.next(acts.hangs)
        with pytest.raises(Unreachable, match="whether it was done is not known"):
            hasty.pause("chat")
        until(lambda: gateway.asked)
        assert len(gateway.asked) == 1

    def test_but_half_of_one_is_a_bad_answer(self, gateway, client, acts):
        gateway.next(acts.breaks_off)
        with pytest.raises(BadAnswer, match="broke off"):
            client.services()


class TestACutConnection:
    def test_is_retried_once_for_a_rollback(self, gateway, client, acts):
        gateway.next(acts.cuts)
        assert client.rollback("chat", "slow")["phase"] == "rolling_back"

    def test_twice_is_the_callers_to_handle(self, gateway, client, acts):
        gateway.next(acts.cuts, lambda handler: handler.route({}), acts.cuts)
        with pytest.raises(Unreachable, match="cut"):
            client.rollback("chat", "slow")
        assert [verb for verb, _, _ in gateway.asked] == ["POST", "GET", "POST"]

    def test_does_not_make_an_idle_service_go_back_and_forward_again(self, gateway, client, acts):
        gateway.services["chat"]["phase"] = "idle"
        gateway.next(acts.cuts)
        with pytest.raises(Unreachable, match="whether it was done is not known"):
            client.rollback("chat", "slow")
        assert [verb for verb, _, _ in gateway.asked] == ["POST", "GET"]

    def test_is_retried_for_an_idle_service_when_the_release_is_named(self, gateway, client, acts):
        gateway.services["chat"]["phase"] = "idle"
        gateway.next(acts.cuts)
        client.rollback("chat", "slow", to="v1")
        assert [verb for verb, _, _ in gateway.asked] == ["POST", "POST"]

    @pytest.mark.parametrize("verb", ["start", "pause", "resume", "promote"])
    def test_of_any_other_command_is_not_retried(self, gateway, client, acts, verb):
        gateway.next(acts.cuts)
        with pytest.raises(Unreachable, match="whether it was done is not known"):
            getattr(client, verb)("chat", *["v2"][: verb == "start"])
        assert len(gateway.asked) == 1


OURS = {"error": {"code": "x", "message": "no\nway", "hint": "go home"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "error", "words"),
    [
        (401, OURS, "json", Refused, "no way (go home)"),
        (403, OURS, "json", Refused, "no way"),
        (404, OURS, "json", Refused, "no way"),
        (409, OURS, "json", Refused, "no way"),
        (429, OURS, "json", Refused, "no way"),
        (500, OURS, "json", BadAnswer, "no way"),
        (503, OURS, "json", BadAnswer, "no way"),
        (401, "<h1>Login</h1>", "html", Refused, "the key is not known"),
        (403, "<h1>WAF</h1>", "html", Refused, "the key may not"),
        (400, {"error": {"message": "bad key", "type": "auth_error", "code": "400"}}, "json",
         Refused, "bad key"),
        (404, {"detail": "Not Found"}, "json", BadAnswer, "coalmine.plugin"),
        (405, {"detail": "Method Not Allowed"}, "json", BadAnswer, "coalmine.plugin"),
        (500, "Internal Server Error", "plain", BadAnswer, "broke (HTTP 500)"),
        (502, "<h1>Bad gateway</h1>", "html", BadAnswer, "broke (HTTP 502)"),
        (500, {"error": "a string"}, "json", BadAnswer, "broke (HTTP 500)"),
        (200, "<h1>Welcome</h1>", "html", BadAnswer, "not as Coalmine does"),
        (200, [1, 2], "json", BadAnswer, "not as Coalmine does"),
        (200, {"other": 1}, "json", BadAnswer, "not as Coalmine does"),
        (200, "", "json", BadAnswer, "not as Coalmine does"),
    ],
)
def test_an_answer_becomes_the_error_that_it_is(
    gateway, client, acts, status, body, kind, error, words
):
    gateway.next(acts.says(status, body, kind))
    with pytest.raises(ClientError) as caught:
        client.services()
    assert type(caught.value) is error
    assert caught.value.status == status
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_carries_code_message_hint_and_status(gateway, client):
    with pytest.raises(Refused) as caught:
        client.pause("chat", epoch=3)
    found = caught.value
    assert (found.code, found.status, found.hint) == ("epoch", 409, "")
    assert found.message == "chat is at epoch 17"


RAISED = [
    kind for _, kind in inspect.getmembers(requests.exceptions, inspect.isclass)
    if issubclass(kind, requests.RequestException) and not issubclass(kind, Warning)
]


@pytest.mark.parametrize("kind", RAISED)
def test_every_exception_of_requests_has_its_row(kind):
    assert len(RAISED) > 20
    assert kind in EXCEPTIONS


@pytest.mark.parametrize("kind", [*EXCEPTIONS, PermissionError])
def test_every_row_makes_an_error_that_quotes_nothing_of_the_library(kind):
    error = kind.__new__(kind)
    error.args = ("Invalid header value 'Bearer sk-geheim'",)
    found = from_exception(error, "http://gw", changes=False)
    assert isinstance(found, (Misconfigured, Unreachable, BadAnswer))
    assert "geheim" not in str(found)
    assert "{" not in str(found)


def test_it_stands_alone_without_the_cli_or_litellm(environment):
    code = (
        "import sys, coalmine.cli.client; "
        "print([m for m in ('typer', 'rich', 'litellm', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A certificate for 127.0.0.1 that nobody knows, with its key in the same file."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(secret, hashes.SHA256())
    )
    path = tmp_path / "gw.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class TestTls:
    @pytest.fixture
    def secure(self, gateway, certificate) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = gateway._server
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # the client hangs up on an unknown certificate
        return gateway.url.replace("http:", "https:")

    def test_of_an_unknown_ca_is_not_trusted_and_says_why(self, gateway, secure, key):
        with pytest.raises(Unreachable, match=r"no trusted connection.*certificate.*name the CA"):
            Client(secure, key).services()
        assert not gateway.headers

    def test_of_a_named_ca_is_trusted(self, secure, key, certificate):
        assert Client(secure, key, verify=certificate).services()

    def test_with_a_ca_file_that_is_not_there_is_misconfigured(self, secure, tmp_path):
        with pytest.raises(Misconfigured, match=r"no\.pem does not exist"):
            Client(secure, verify=tmp_path / "no.pem")

    def test_with_a_ca_file_that_is_none_is_explained(self, secure, key, tmp_path):
        (tmp_path / "ca.pem").write_text("no certificate")
        with pytest.raises(ClientError):
            Client(secure, key, verify=tmp_path / "ca.pem").services()

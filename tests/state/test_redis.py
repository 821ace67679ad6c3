"""What only Redis has: its settings, rights, certificates, memory and expiry."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coalmine.rollout.service import Service
from coalmine.state import Batch, Beat, Entry, State, StateCorrupt, StateRefused, StateUnreachable

pytestmark = pytest.mark.redis
KEY = b"\x00key\xff\n\r\x01"


# settings -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_redis_that_evicts_any_key_is_refused(
    opened: Callable[..., State], redis_server: Any, policy: str
) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        try:
            with pytest.raises(StateRefused, match=f"{policy}.*noeviction"):
                opened(redis_server.url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_evicts_pins_is_warned_about(
    opened: Callable[..., State], redis_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        try:
            assert opened(redis_server.url).load() == {}
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert "may throw pins away" in caplog.text


def test_it_is_warned_when_the_last_changes_may_be_lost(
    opened: Callable[..., State], redis_server: Any, start_redis: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened(redis_server.url)
    assert caplog.text.count("appendonly is off") == 1
    caplog.clear()
    opened(start_redis("--appendonly", "yes").url)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_a_replica_is_refused(
    opened: Callable[..., State], redis_server: Any, start_redis: Callable[..., Any]
) -> None:
    replica = start_redis("--replicaof", "127.0.0.1", str(redis_server.port))
    with pytest.raises(StateRefused, match="is a replica"):
        opened(replica.url)


def test_a_redis_that_becomes_a_replica_is_unreachable_for_changes(
    opened: Callable[..., State], redis_server: Any, start_redis: Callable[..., Any],
    service: Service, entry: Entry,
) -> None:
    server = start_redis()
    state = opened(server.url)
    with server.client() as client:
        client.replicaof("127.0.0.1", redis_server.port)
    with pytest.raises(StateUnreachable, match="read-only replica"):
        state.swap(None, service, entry)


def test_a_cluster_is_refused(
    opened: Callable[..., State], start_redis: Callable[..., Any]
) -> None:
    with pytest.raises(StateRefused, match="Cluster is not supported"):
        opened(start_redis("--cluster-enabled", "yes").url)


# rights -------------------------------------------------------------------------------------------
RIGHTS = [
    b"~coalmine:*", b"~\xc3*", b"&coalmine:*", b"+@read", b"+@write", b"+@scripting", b"+@pubsub",
    b"+time",
]


def _user(server: Any, name: str, *rights: bytes) -> str:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", name, "reset", "on", ">s3cret/word", *rights)
    return f"redis://{name}:s3cret%2Fword@127.0.0.1:{server.port}/0"


def test_a_user_with_the_rights_that_we_name_can_do_everything(
    opened: Callable[..., State], start_redis: Callable[..., Any], service: Service, entry: Entry,
    at: Callable[..., Service], caplog: pytest.LogCaptureFixture,
) -> None:
    state = opened(_user(start_redis(), "coalmine", *RIGHTS))
    assert "settings of Redis are not checked" in caplog.text
    assert state.swap(None, service, entry)
    assert state.reseed(at(service, 2), entry)
    state.append(entry)
    assert len(state.history("chat")) == 3
    assert state.load()["chat"].epoch == 2
    assert state.claim(KEY, 1) is None
    assert state.move(KEY, 1, 2)
    state.bind(KEY, 2, [b"12345678"])
    assert state.resolve([b"12345678"]) == (KEY, 2)
    cursor, _ = state.moved_since(-1) or (0, [])
    assert state.moved_since(cursor) == (cursor, [])
    state.ship(Batch("w1", "g1", 1, (), {"n": 1}), urgent=True)
    assert len(state.batches("")[1]) == 1
    assert state.totals("g1") == {"n": 1}
    state.publish("chat", {})
    assert state.published("chat") == {}
    state.beat(Beat("w1", "g1"))
    assert len(state.workers()) == 1
    assert state.lease("w1", 5)
    state.unlease("w1")
    assert len(state.salt()) == 32
    bell = state.bell("w1")
    assert bell.wait(2.0)
    bell.close()


def test_a_user_without_a_right_is_told_which_rights_are_needed(
    opened: Callable[..., State], start_redis: Callable[..., Any], service: Service, entry: Entry
) -> None:
    server = start_redis()
    state = opened(_user(server, "reader", b"~coalmine:*", b"+@read", b"+@scripting", b"+time"))
    with pytest.raises(StateRefused, match=r"ACL.*\+@write") as refusal:
        state.swap(None, service, entry)
    assert "s3cret" not in str(refusal.value)


def test_a_wrong_password_is_refused_and_shown_nowhere(
    opened: Callable[..., State], start_redis: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = start_redis("--requirepass", "right")
    for url in (server.url.replace("//", "//:wr0ng@"), server.url):
        with pytest.raises(StateRefused, match="password") as refusal:
            opened(url)
        chain: BaseException | None = refusal.value
        while chain is not None:
            assert "wr0ng" not in repr(chain)
            chain = chain.__cause__ or chain.__context__
    assert "wr0ng" not in caplog.text
    assert opened(server.url.replace("//", "//:right@")).load() == {}


# URLs ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:s3cret@localhost/zero", "no database number"),
        ("redis://:s3cret@localhost:port/0", "port"),
        ("redis://:s3cret@localhost/0?socket_timeout=60", "a name that is not known"),
        ("rediss://:s3cret@localhost/0?ssl_cert_reqs=none", "a name that is not known"),
        ("rediss://:s3cret@localhost/0?ssl_ca_certs=/no/such.pem", "there is no file"),
        ("redis://:s3cret@localhost/0?ssl_ca_certs=/etc/hosts", "is not known"),
        ("redis://:12?s3cret@localhost/0", "question mark in a password"),
        ("redis://:s3cret\uff0fx@localhost/0", "no host that can be asked"),
        ("redis://:s3cret[@localhost/0", "no host that can be asked"),
        ("redis://:s3cret@local..host/0", "no host that can be asked"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(
    opened: Callable[..., State], url: str, why: str
) -> None:
    with pytest.raises(StateRefused, match=why) as refusal:
        opened(url)
    assert "s3cret" not in str(refusal.value)


def test_two_databases_of_one_redis_are_two_states(
    opened: Callable[..., State], redis_server: Any, service: Service, entry: Entry
) -> None:
    first = opened(redis_server.url)
    second = opened(redis_server.url[:-1] + "1")
    bell = second.bell("w1")
    assert bell.wait(2.0)
    first.swap(None, service, entry)
    assert second.load() == {}
    assert not bell.wait(0.1)
    bell.close()


# TLS ----------------------------------------------------------------------------------------------
def _certificates(directory: Path) -> tuple[Path, Path, Path]:
    """Make a CA, and a key and certificate for 127.0.0.1 that it has signed."""
    x509 = pytest.importorskip("cryptography.x509")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def write(name: str, data: bytes) -> Path:
        path = directory / name
        path.write_bytes(data)
        return path

    def name(text: str) -> Any:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def build(subject: str, key: Any, *extensions: Any) -> Any:
        builder = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test CA"))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
            )
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "encipher_only", "decipher_only"), False,
    )
    ca = build(
        "test CA", ca_key, (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False),
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = build("redis", key, (x509.SubjectAlternativeName([address]), False))
    pem = serialization.Encoding.PEM
    return (
        write("ca.pem", ca.public_bytes(pem)),
        write("redis.pem", certificate.public_bytes(pem)),
        write("redis.key", key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )),
    )


def test_tls_is_used_with_a_verified_certificate(
    opened: Callable[..., State], start_redis: Callable[..., Any], tmp_path: Path,
    service: Service, entry: Entry,
) -> None:
    ca, certificate, key = _certificates(tmp_path)
    server = start_redis(
        "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no", tls=True,
    )
    state = opened(f"{server.url}?ssl_ca_certs={ca}")
    bell = state.bell("w1")
    assert bell.wait(2.0)
    assert state.swap(None, service, entry)
    assert bell.wait(2.0)
    bell.close()
    with pytest.raises(StateRefused, match="certificate of Redis is not trusted"):
        opened(server.url)


# what is kept -------------------------------------------------------------------------------------
def test_a_pin_takes_less_than_100_bytes(
    opened: Callable[..., State], redis_server: Any
) -> None:
    state = opened(redis_server.url)
    state.claim(KEY, 9999)
    state.bind(b"\xff" * 8, 1, [b"12345678"])
    with redis_server.client() as client:
        assert client.object("encoding", b"\xc3" + KEY) == b"int"
        assert client.memory_usage(b"\xc3" + KEY) + 24 <= 100, "24 for its time of expiry"
        assert 86_000 < client.ttl(b"\xc3" + KEY) <= 86_400
        assert 86_000 < client.ttl(b"\xc312345678") <= 86_400


def test_all_keys_are_ours(
    opened: Callable[..., State], redis_server: Any, service: Service, entry: Entry
) -> None:
    state = opened(redis_server.url)
    state.swap(None, service, entry)
    state.claim(KEY, 1)
    state.move(KEY, 1, 2)
    state.ship(Batch("w1", "g1", 1, (), {"n": 1}))
    state.publish("chat", {})
    state.beat(Beat("w1", "g1"))
    state.lease("w1", 60)
    state.salt()
    with redis_server.client() as client:
        found = client.keys("*")
        forever = {name for name in found if client.ttl(name) == -1}
    assert all(name.startswith((b"coalmine:", b"\xc3")) for name in found)
    assert forever == {
        b"coalmine:services", b"coalmine:log:chat", b"coalmine:generation", b"coalmine:salt",
        b"coalmine:moves", b"coalmine:batches", b"coalmine:published", b"coalmine:beats",
        b"coalmine:beats:documents",
    }


def test_the_log_keeps_the_newest_entries(
    opened: Callable[..., State], redis_server: Any, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coalmine.state.redis_store.LOG_KEPT", 5)
    state = opened(redis_server.url)
    for number in range(8):
        state.append(replace(entry, at=float(number)))
    assert [each.at for each in state.history("chat")] == [3.0, 4.0, 5.0, 6.0, 7.0]


def test_workers_that_ended_long_ago_are_forgotten(
    opened: Callable[..., State], redis_server: Any, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coalmine.state.redis_store.BEATS_KEPT", 0.05)
    state = opened(redis_server.url)
    state.beat(Beat("old", "g1"))
    until(lambda: state.workers(within=0.1) == [])
    state.beat(Beat("new", "g1"))
    with redis_server.client() as client:
        assert client.hkeys("coalmine:beats:documents") == [b"new"]


def test_old_batches_are_trimmed(
    opened: Callable[..., State], redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coalmine.state.redis_store.BATCHES_KEPT", 0.02)
    state = opened(redis_server.url)
    for number in range(1, 1001):
        state.ship(Batch("w1", "g1", number))
    with redis_server.client() as client:
        # Redis drops whole nodes of 100 entries.
        assert client.xlen("coalmine:batches") < 600


def test_something_else_under_our_names_is_corrupt(
    opened: Callable[..., State], redis_server: Any, service: Service, entry: Entry
) -> None:
    state = opened(redis_server.url)
    with redis_server.client() as client:
        client.set("coalmine:services", "theirs")
        with pytest.raises(StateCorrupt, match="did not write"):
            state.load()
        client.delete("coalmine:services")
        client.hset("coalmine:services", "chat", "theirs")
    for call in (state.load, lambda: state.salt() and state.load()):
        with pytest.raises(StateCorrupt, match="did not write"):
            call()
    assert not state.swap(None, service, entry)


def test_a_full_redis_takes_no_changes_and_says_so(
    opened: Callable[..., State], start_redis: Callable[..., Any]
) -> None:
    server = start_redis("--maxmemory", "1mb")
    state = opened(server.url)
    with server.client() as client:
        client.config_set("maxmemory", "100kb")
    with pytest.raises(StateUnreachable, match="Redis is full"):
        state.claim(KEY, 1)
    assert state.load() == {}


def test_scripts_that_redis_has_forgotten_are_sent_again(
    opened: Callable[..., State], redis_server: Any
) -> None:
    state = opened(redis_server.url)
    state.claim(KEY, 1)
    with redis_server.client() as client:
        client.script_flush()
    assert state.claim(KEY, 2) == 1

"""For all tests: their order, LiteLLM's price list from its own package, and patience."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # not from the network


LATE = ("hosts/test_molecule.py", "cli/test_demo.py", "integration")
"""What needs the whole machine, after all that needs one core, beside which hosts are tried."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order them: scenarios on hosts end before what would starve them begins."""
    items.sort(key=lambda item: next(
        (place + 1 for place, late in enumerate(LATE)
         if item.path.is_relative_to(Path(__file__).parent / late)), 0))


def _until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)
    return met


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Wait until a condition is met, and return what it returned."""
    return _until


class Authority:
    """Signs certificates; its own is `path`."""

    def __init__(self, folder: Path, name: str = "an authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment",
                               "data_encipherment", "key_agreement", "encipher_only",
                               "decipher_only"), False)
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        self.path = self._write(f"{name}.pem", _pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, *names: str, file: str = "host.pem", days: float = 1.0) -> Path:
        """Return a file with a certificate for names and addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        made = self._builder(subject, key, days).add_extension(
            x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        text = _pem(made.sign(self._key, hashes.SHA256())) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption())
        return self._write(file, text)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 1.0
                 ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder(self._name, subject, key.public_key(),
                                    x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                self._key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                           critical=False))

    def _write(self, name: str, text: bytes) -> Path:
        """Replace a file at once, as Ansible does."""
        fresh = self._folder / f"{name}.new"
        fresh.write_bytes(text)
        return fresh.replace(self._folder / name)


def _pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs certificates for a test."""
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """Signs them too, and nobody trusts it."""
    return Authority(tmp_path, "a stranger")

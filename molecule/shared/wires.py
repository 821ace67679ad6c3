#!/usr/bin/env python3
"""Who listens on the network between hosts: wires.py FOLDER OTHER_CA HOST:PORT… ends with 1 when
one of them is not as it should be.

Each answers nothing that is asked in the clear, shows the certificate that FOLDER has for its host
to who trusts FOLDER/ca.pem, and is refused by who trusts OTHER_CA.
"""

import ssl
import sys
from contextlib import suppress
from pathlib import Path
from socket import create_connection

PLAIN = b"GET /metrics HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\nPING\r\n"


def plain(host, port):
    """Return what it answers in the clear, b"" for nothing."""
    with create_connection((host, port), 5) as line:
        try:
            line.sendall(PLAIN)
            return line.recv(4096)
        except ConnectionError:
            return b""


def wrong_with(folder, other, host, port):
    """Return what is not as it should be."""
    if said := plain(host, port):
        yield f"answers in the clear: {said[:60]!r}"
    try:
        shown = ssl.get_server_certificate((host, port), ca_certs=str(folder / "ca.pem"), timeout=5)
        if shown.strip() != (folder / f"{host}.pem").read_text().strip():
            yield "shows another certificate than the newest"
    except OSError as error:
        yield f"is not accepted: {error}"
    with suppress(ssl.SSLCertVerificationError):
        ssl.get_server_certificate((host, port), ca_certs=other, timeout=5)
        yield "is accepted by who trusts another"


def main(folder, other, *wires):
    wrong = [f"{wire} {what}" for wire in wires
             for what in wrong_with(Path(folder), other, *wire.split(":"))]
    print("\n".join([f"{len(wires)} wires", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Weights from a web server."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from .manifest import File
from .problems import Broken, Unfit, Wrong
from .reading import BLOCK, SILENCE
from .verifying import check_digest, check_size


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

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:
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

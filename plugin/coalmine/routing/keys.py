"""Keys of conversations: short keyed hashes, so that no id and no text is ever stored.

Every key is scoped by service and by the caller's key, so that two callers with the same id are
two conversations, and is made with the installation's own salt, so that a stolen state cannot be
searched for known texts.
"""

from __future__ import annotations

from hashlib import blake2b

from coalmine.routing.history import History

KEY_BYTES = 8
"""64 bits: with a million conversations the chance of any collision is 3e-8."""

ID_CAP = 1024
"""Bytes of an explicit id that count; a header of a megabyte costs no more than that."""


def _key(salt: bytes, kind: str, *parts: str) -> bytes:
    text = "\x1d".join((kind, *parts)).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=KEY_BYTES, key=salt).digest()


def explicit_key(salt: bytes, service: str, caller: str, conversation_id: str) -> bytes:
    """Key of a conversation that the client names by an id of its own."""
    return _key(salt, "id", service, caller, conversation_id[:ID_CAP])


def caller_key(salt: bytes, service: str, caller: str) -> bytes:
    """Key of all requests of one caller, for services with ``unit: key``."""
    return _key(salt, "caller", service, caller)


def response_alias(salt: bytes, service: str, caller: str, response_id: str) -> bytes:
    """Alias by which a later ``previous_response_id`` finds its conversation."""
    return _key(salt, "response", service, caller, response_id[:ID_CAP])


def history_aliases(salt: bytes, service: str, caller: str, history: History) -> tuple[bytes, ...]:
    """Aliases by which a request that carries its history finds its conversation.

    The beginning (first user message and first answer) is looked up first; the newest answer
    finds a conversation whose client trims its history. Empty without an answer in the history.
    """
    if history.first_answer is None or history.newest_answer is None:
        return ()
    return (
        _key(salt, "beginning", service, caller, history.first_user, history.first_answer),
        _key(salt, "answer", service, caller, history.newest_answer),
    )


def hidden(salt: bytes, text: str) -> str:
    """Return a short hash of `text` to stand for it in counters and records, 16 hex digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).hexdigest()

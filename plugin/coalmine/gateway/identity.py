"""Who is a conversation: from LiteLLM's view of a request to keys and aliases.

The order is design.md's rule 3: an id that the client states, the response it continues, then its
history. What the client does not state is never guessed from the message's shape.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coalmine.routing.history import History, read_history
from coalmine.routing.keys import caller_key, explicit_key, history_aliases, response_alias

log = logging.getLogger("coalmine.identity")

KINDS = {
    "acompletion": "chat",
    "completion": "chat",
    "atext_completion": "completion",
    "text_completion": "completion",
    "anthropic_messages": "messages",
    "aresponses": "responses",
    "responses": "responses",
    "aembedding": "embedding",
    "embeddings": "embedding",
    "embedding": "embedding",
}
"""Kind of a turn by LiteLLM's call type; everything else is ``other``."""

TALKING = frozenset({"chat", "completion", "messages", "responses"})
"""Kinds that are turns of conversations."""


TELLING = 24
"""Characters from which on an answer may tell one conversation from another by itself."""


class Identity(NamedTuple):
    """What a request says about its conversation.

    Attributes:
        basis: ``id``, ``session``, ``key``, ``response``, ``history``, ``new``, or None when the
            request is no turn of a conversation.
        key: the conversation's key where the request states it, else None.
        aliases: what to look it up by, else empty.
        history: what its body says.
    """

    basis: str | None
    key: bytes | None = None
    aliases: tuple[bytes, ...] = ()
    history: History | None = None


def aliases_of(salt: bytes, service: str, caller: str, history: History) -> tuple[bytes, ...]:
    """Return the aliases by which a conversation with such a history is known.

    An answer as short as "Yes." is in many conversations of one key. By it a conversation that
    began before the rollout could be taken for one that was drawn, and be moved onto the candidate.
    """
    aliases = history_aliases(salt, service, caller, history)
    text, _, calls = (history.newest_answer or "").partition("\x1f")
    return aliases if calls or len(text) >= TELLING else aliases[:1]


def original_response_id(response_id: str) -> str:
    """Return the engine's own id of a response, which LiteLLM wraps on the way to the client.

    It names the deployment in it and then seals it for the caller; that it was unsealed for our
    hook depends on the order of the callbacks.
    """
    from litellm.proxy.hooks.responses_id_security import ResponsesIDSecurity
    from litellm.responses.utils import ResponsesAPIRequestUtils as utils  # noqa: N813

    try:
        unsealed = ResponsesIDSecurity()._decrypt_response_id(response_id)[0]
        decoded = utils.decode_previous_response_id_to_original_previous_response_id(unsealed)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        # Its conversation may then not be recognised, which is counted.
        log.debug("a response's id is taken as it is: %r", error)
        return response_id
    return decoded or response_id


def identify(
    data: Mapping[str, Any],
    metadata: Mapping[str, Any],
    *,
    service: str,
    kind: str,
    caller: str,
    unit: str,
    headers: Sequence[str],
    salt: bytes,
) -> Identity:
    """Return what a request says about its conversation.

    Args:
        data: the request as LiteLLM's hooks have it.
        metadata: LiteLLM's metadata of it.
        service: the service it asks for.
        kind: its kind.
        caller: hash of the caller's key.
        unit: what is sticky, ``conversation`` or ``key``.
        headers: names of headers that carry a conversation's id, lower case, the first counts.
        salt: the installation's salt.
    """
    if unit == "key":
        return Identity("key", caller_key(salt, service, caller))
    if kind not in TALKING:
        return Identity(None)
    sent = metadata.get("headers")
    if isinstance(sent, Mapping):
        for name in headers:
            value = sent.get(name)
            if value:
                return Identity("id", explicit_key(salt, service, caller, str(value)))
    session = metadata.get("session_id")
    if session and not metadata.get("litellm_session_id_generated"):
        return Identity("session", explicit_key(salt, service, caller, str(session)))
    previous = data.get("previous_response_id")
    if kind == "responses" and isinstance(previous, str) and previous:
        alias = response_alias(salt, service, caller, original_response_id(previous))
        return Identity("response", None, (alias,))
    if kind == "completion":
        return Identity("new")
    history = read_history(data)
    aliases = aliases_of(salt, service, caller, history)
    return Identity("history" if aliases else "new", None, aliases, history)

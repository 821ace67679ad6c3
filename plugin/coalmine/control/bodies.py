"""What may come in a request's body, read up to a cap and checked."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from coalmine.control.errors import BadRequest
from coalmine.release import Slot
from coalmine.rollout.policy import Name

BODY_CAP = 64 * 1024
"""Bytes of a command's body that are read; no command is larger."""

TEXT_CAP = 2000
"""Characters of a reason that are kept."""

_KINDS: dict[type, str] = {
    list: "an array", str: "a text", int: "a number", float: "a number", bool: "true or false",
    type(None): "null",
}


def clean(text: Any) -> Any:
    """Return a text as any store can keep it: JSON may carry halves of characters."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


class CommandBody(BaseModel):
    """The body of a command; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    release: Name | None = Field(None, description="For start: the release to ship.")
    reason: Annotated[str, BeforeValidator(clean)] = Field(
        "", max_length=TEXT_CAP, description="Why, for the log."
    )
    epoch: int | None = Field(None, description="Do it only at this epoch, else 409.")
    full: bool = Field(False, description="For promote: straight to the last step.")
    to: Name | None = Field(
        None, description="For rollback of an idle service: the release to go back to; left out, "
        "`previous`."
    )


class ReleaseBody(BaseModel):
    """The body that registers a release."""

    model_config = ConfigDict(extra="forbid")

    slot: Slot
    digest: str | None = Field(None, pattern=r"^[a-z0-9]+:[0-9a-f]{8,128}$")


async def read(request: Request, cap: int) -> bytes:
    """Return the body; one that is too large is not read to its end."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > cap:
            raise BadRequest(f"the body has more than the {cap} bytes that are allowed")
    return bytes(raw)


def parse(raw: bytes) -> Any:
    """Return what JSON says."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


async def body_of(request: Request, model: type[BaseModel]) -> Any:
    """Return the request's body as `model` has it; an empty one has no fields."""
    raw = await read(request, BODY_CAP)
    found = parse(raw) if raw.strip() else {}
    fields = f"fields are {', '.join(model.model_fields)}"
    if not isinstance(found, dict):
        kind = _KINDS.get(type(found), "something else")
        raise BadRequest(f"the body must be a JSON object such as {{}}, not {kind}", fields)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'body'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise BadRequest(problems, fields) from error

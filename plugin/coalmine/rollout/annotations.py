"""What the types of the policy's models say about what a file may hold."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import lru_cache, reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo


def key_of(field: str, info: FieldInfo) -> str:
    """Return the key by which a file names a model's field."""
    return info.alias or field


def inner(annotation: Any) -> Any:
    """Return an annotation without `Annotated` and without the None of an optional one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return inner(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        left = [arg for arg in get_args(annotation) if arg is not type(None)]
        return inner(left[0]) if len(left) == 1 else annotation
    return annotation


@lru_cache(maxsize=256)
def adapter(annotation: Any, metadata: tuple[Any, ...] = ()) -> TypeAdapter[Any]:
    """Return what checks a value of this type with these constraints."""
    return TypeAdapter(reduce(lambda inside, meta: Annotated[inside, meta], metadata, annotation))


def is_text(annotation: Any) -> bool:
    """Whether a value of this type is text, whatever YAML would take it for."""
    wanted = inner(annotation)
    if get_origin(wanted) is Literal:
        return all(isinstance(choice, str) for choice in get_args(wanted))
    return isinstance(wanted, type) and issubclass(wanted, str)


def places(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key that a file may hold, and what it stands in: `holdback`, in
    `services.NAME.rollout`; "" for the top."""
    for field, info in model.model_fields.items():
        key, annotation = key_of(field, info), inner(info.annotation)
        yield key, at
        below = f"{at}.{key}" if at else key
        if get_origin(annotation) is dict:
            below, annotation = f"{below}.NAME", inner(get_args(annotation)[1])
        elif get_origin(annotation) is tuple:
            below, annotation = f"{below}[]", inner(get_args(annotation)[0])
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from places(annotation, below)

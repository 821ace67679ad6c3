"""Reading a policy file: text in, a `Policy` out, or all that is wrong with it at once.

The text is parsed into YAML nodes, which know their lines, and the nodes are read along the types
of the policy's models. So each value is read as what its field wants: a release may be called
1.10 or ``off`` without quotes. Values of secret fields are never quoted, nor is any value that
stands under an unknown key.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache, reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml  # type: ignore[import-untyped, unused-ignore]
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from coalmine.guardrails.guardrail import Action
from coalmine.release import CoalmineError
from coalmine.rollout.policy import Policy, ServicePolicy

MAX_TEXT = 128 * 1024
"""Characters of a policy file; a hundred services need half of it."""

MAX_NODES = 20_000
"""YAML nodes read, aliases followed each time: a bomb of aliases ends here."""

MAX_DEPTH = 40
"""How deep YAML may be nested; the policy needs 7."""

SECRETS = frozenset({"state", "metrics_token", "alertmanager_token", "token_sha256"})
"""Fields whose values are never quoted."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or doubtful, in a policy file.

    Attributes:
        source: name of the file, as the caller gave it; empty when there is none.
        line: line in it, from 1; 0 when it is not known.
        path: the field, ``services.chat.rollout.steps[1].weight``; empty for the whole file.
        message: what is wrong, with the value.
        hint: what to do about it; empty when the message says it.
    """

    source: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        said = f"{self.message} ({self.hint})" if self.hint else self.message
        return ": ".join(part for part in (place, self.path, said) if part)


class PolicyError(CoalmineError):
    """A policy file that cannot be used.

    Attributes:
        problems: all that is wrong with it, by line.
    """

    code = "policy"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def read_policy(text: str, source: str) -> Policy:
    """Return the policy that `text` holds.

    Args:
        text: the YAML.
        source: name of the file, for the messages.

    Raises:
        PolicyError: when it cannot be used; holds every problem, none of them twice.
    """
    root, broken = _parse(text)
    if root is None:
        raise PolicyError((_problem(source, broken),))
    reader = _Reader()
    policy = reader.model(Policy, root, (), 1)
    if isinstance(policy, Policy) and not reader.found:
        return policy
    found = sorted(dict.fromkeys(reader.found), key=lambda trouble: trouble.line)
    raise PolicyError(tuple(_problem(source, trouble) for trouble in found))


def warnings(policy: Policy, text: str = "", source: str = "") -> list[Problem]:
    """Return what is legal in `policy` but doubtful, for ``coalmine lint``.

    Args:
        policy: the policy.
        text: the YAML that it was read from, to say the lines; may be left out.
        source: name of the file, for the messages.
    """
    root = _parse(text)[0] if text else None
    return [
        _problem(source, _Trouble(_line(root, path), path, message, hint))
        for path, message, hint in _doubts(policy)
    ]


Doubt = tuple[Path, str, str]


def _doubts(policy: Policy) -> Iterator[Doubt]:
    if not policy.services:
        yield ("services",), "there is none, so nothing is rolled out", "name the model groups"
    for name, service in policy.services.items():
        for path, message, hint in _doubts_of(service):
            yield ("services", name, *path), message, hint


def _doubts_of(service: ServicePolicy) -> Iterator[Doubt]:
    plan, last = service.rollout, len(service.rollout.steps) - 1
    if len(service.releases) == 1:
        yield ("releases",), "there is only one, so nothing can be rolled out", "add the next one"
    final, baking = plan.steps[last].weight, 100 - plan.holdback
    if final < 100:
        yield (
            ("rollout", "steps", last, "weight"),
            f"the last step is {final:g}, then the bake gives {baking:g} at once (100 − holdback)",
            "end with weight: 100",
        )
    if plan.bake == 0:
        yield ("rollout", "bake"), "with 0 nothing is watched after the last step", "give 24h"
    if not any(g.action is Action.ROLLBACK and not g.dry_run for g in service.guardrails):
        yield (
            ("guardrails",),
            "none rolls back, so only a person can",
            "give one of them action: rollback",
        )
    relative = [g.name for g in service.guardrails if g.relative]
    if plan.holdback == 0 and plan.bake > 0 and relative:
        yield (
            ("rollout", "holdback"),
            f"with 0 the bake judges {', '.join(relative)} against the recorded baseline only",
            "give 2",
        )
    if service.sessions.on_rollback == "finish":
        yield (
            ("sessions", "on_rollback"),
            "after a mild or manual rollback, conversations stay on the release that was given up",
            "move is safer",
        )
    if service.sessions.grace == 0:
        yield (
            ("sessions", "grace"),
            "with 0 a live conversation whose id was not seen yet counts as new and may be moved",
            "give 60s",
        )


# --------------------------------------------------------------------------- YAML into nodes


@dataclass(frozen=True, slots=True)
class _Trouble:
    line: int
    path: Path
    message: str
    hint: str = ""


def _problem(source: str, trouble: _Trouble) -> Problem:
    return Problem(source, trouble.line, _written(trouble.path), trouble.message, trouble.hint)


def _written(path: Path) -> str:
    """Return a path as people write it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]{1,128}", part):
            text += f".{part}" if text else part
        else:
            text += f"[{_quoted(part)}]"
    return text


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)


_SYNTAX = (  # what PyYAML says, what it means, what to do
    ("'\\t'", "a tab stands where YAML wants spaces", "indent with spaces"),
    ("mapping values are not allowed", "a second ':' in this line, or a wrong indentation",
     "quote text that holds ': '"),
    ("could not find expected ':'", "a key without ':'", "write key: value"),
    ("expected <block end>", "the indentation does not fit the lines above",
     "align it with its neighbours"),
    ("unexpected end of stream", "a quote is not closed", "close it"),
    ("expected ',' or", "a bracket or a comma is missing", "close what was opened above"),
    ("undefined alias", "an alias (*name) for which there is no anchor (&name)",
     "quote text that begins with *"),
    ("duplicate anchor", "an anchor (&name) that stands there twice", "give it another name"),
    ("expected a single document", "a second document begins here (---)",
     "one file holds one policy"),
)  # fmt: skip


def _parse(text: str) -> tuple[Any, _Trouble]:
    """Return the root node and nothing, or None and why there is none."""
    if len(text) > MAX_TEXT:
        return None, _Trouble(1, (), f"the file has more than {MAX_TEXT} characters")
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if depth > MAX_DEPTH:
                return None, _Trouble(line, (), f"nested more than {MAX_DEPTH} deep")
            if count > MAX_NODES:
                return None, _Trouble(line, (), f"the file has more than {MAX_NODES} values")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return None, _Trouble(line, (), "a character that YAML does not allow", "remove it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        for sign, message, hint in _SYNTAX:
            if sign in f"{error.context} {error.problem}":
                return None, _Trouble(line, (), message, hint)
        # PyYAML's own words may quote a secret, so they are not passed on.
        return None, _Trouble(line, (), "this is not YAML", "quote text that begins with a sign")
    if root is None:
        return None, _Trouble(1, (), "the file is empty", "name at least one of the services")
    return root, _Trouble(0, (), "")


def _line(root: Any, path: Path) -> int:
    """Return the line of the deepest part of `path` that the file holds, 0 without a file."""
    line = root.start_mark.line + 1 if root is not None else 0
    node = root
    for part in path:
        if isinstance(node, yaml.MappingNode):
            held = {k.value: (k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode)}
            if part not in held:
                break
            key, node = held[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ODD = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def _scalar(node: Any) -> Any:
    """Return what a plain scalar stands for by the rules of YAML 1.2, where 1:30, yes and off
    are text."""
    text: str = node.value
    if node.style is not None:
        return text
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _ODD.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


# --------------------------------------------------------------------------- nodes into models

_BAD: Any = ...
"""Stands for a value that is given but cannot be read; its problem has been told."""

_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "text", type(None): "nothing"}
_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
}
_BOUNDS = {
    "greater_than": "is not more than",
    "greater_than_equal": "is less than",
    "less_than": "is not less than",
    "less_than_equal": "is more than",
}


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
def _adapter(annotation: Any, metadata: tuple[Any, ...] = ()) -> TypeAdapter[Any]:
    return TypeAdapter(reduce(lambda inside, meta: Annotated[inside, meta], metadata, annotation))


def _is_text(annotation: Any) -> bool:
    wanted = inner(annotation)
    if get_origin(wanted) is Literal:
        return all(isinstance(choice, str) for choice in get_args(wanted))
    return isinstance(wanted, type) and issubclass(wanted, str)


class _Reader:
    """Reads nodes along the types, and collects what is wrong instead of stopping."""

    def __init__(self) -> None:
        self.found: list[_Trouble] = []
        self._nodes = 0

    def _bad(self, line: int, path: Path, message: str, hint: str = "") -> Any:
        self.found.append(_Trouble(line, path, message, hint))
        return _BAD

    def value(
        self, annotation: Any, metadata: tuple[Any, ...], node: Any, path: Path, line: int
    ) -> Any:
        """Return the value of `node` for an annotation, or `_BAD`. `line` is its key's."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self._bad(line, path, f"aliases make more than {MAX_NODES} values of this")
            return _BAD
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.count(":") > 2:
            return self._bad(line, path, "has a tag (!…), which a policy never needs", "remove it")
        wanted = inner(annotation)
        if isinstance(wanted, type) and issubclass(wanted, BaseModel):
            return self.model(wanted, node, path, line)
        origin = get_origin(wanted)
        if origin is tuple:
            read: Any = self._items(get_args(wanted)[0], node, path, line)
        elif origin is dict:
            key_type, item = get_args(wanted)
            read = self._entries(key_type, item, node, path, line)
        else:
            return self._leaf(annotation, metadata, node, path)
        return read if read is _BAD else self._checked(type(read), metadata, read, path, line)

    def model(self, model: type[BaseModel], node: Any, path: Path, line: int) -> Any:
        """Return an instance of `model`, or `_BAD`."""
        before = len(self.found)
        pairs = self._pairs(node, path, line)
        if pairs is _BAD:
            return _BAD
        fields = {key_of(name, info): (name, info) for name, info in model.model_fields.items()}
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, (key_line, child) in pairs.items():
            if key not in fields:
                self._bad(key_line, (*path, key), "is not known", _nearest(key, list(fields)))
                continue
            name, info = fields[key]
            metadata = tuple(info.metadata)
            lines[key] = key_line
            values[name] = self.value(info.annotation, metadata, child, (*path, key), key_line)
        for key, (name, info) in fields.items():
            if name not in values:
                if info.is_required():
                    self._bad(line, (*path, key), "is missing", f"give it: {info.description}")
                else:
                    values[name] = info.get_default(call_default_factory=True)
        contradictions = getattr(model, "contradictions", lambda _: ())
        for where, message in contradictions(values):
            self._bad(_line_below(pairs, where, line), (*path, *where), message)
        if len(self.found) > before:
            return _BAD
        return self._checked(model, (), values, path, line)

    def _pairs(self, node: Any, path: Path, line: int, within: tuple[int, ...] = ()) -> Any:
        """Return line and node by key, merges (<<) resolved; tell keys that stand there twice."""
        if not isinstance(node, yaml.MappingNode):
            return self._bad(line, path, f"must be a mapping (key: value), found {_kind(node)}")
        pairs: dict[str, tuple[int, Any]] = {}
        merged: dict[str, tuple[int, Any]] = {}
        for key_node, child in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._bad(key_line, path, "a key must be text")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                around = (*within, id(node))
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    self._nodes += 1
                    if id(source) in around or len(around) > MAX_DEPTH:
                        self._bad(key_line, (*path, key), "merges itself, or too deep")
                    elif self._nodes <= MAX_NODES:
                        more = self._pairs(source, (*path, key), key_line, around)
                        merged = {**({} if more is _BAD else more), **merged}
            elif key in pairs:
                self._bad(
                    key_line,
                    (*path, key),
                    f"stands there twice, in lines {pairs[key][0]} and {key_line}",
                    "keep one of them",
                )
            else:
                pairs[key] = (key_line, child)
        return {**merged, **pairs}

    def _items(self, item: Any, node: Any, path: Path, line: int) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._bad(line, path, f"must be a list, found {_kind(node)}")
        return tuple(
            self.value(item, (), child, (*path, index), child.start_mark.line + 1)
            for index, child in enumerate(node.value)
        )

    def _entries(self, key_type: Any, item: Any, node: Any, path: Path, line: int) -> Any:
        pairs = self._pairs(node, path, line)
        if pairs is _BAD:
            return _BAD
        read = {}
        for key, (key_line, child) in pairs.items():
            named = self._checked(key_type, (), key, (*path, key), key_line)
            read[key] = self.value(item, (), child, (*path, key), key_line)
            if named is _BAD:
                read[key] = _BAD
        return read

    def _leaf(self, annotation: Any, metadata: tuple[Any, ...], node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            return self._bad(line, path, f"must be one value, found {_kind(node)}")
        value = _scalar(node)
        if value is None:
            return self._bad(line, path, "has no value", "give one, or leave the key out")
        if _is_text(annotation):
            value = node.value
        if isinstance(value, float) and not abs(value) < float("inf"):
            return self._bad(line, path, f"{node.value} is not a number that can be used")
        return self._checked(annotation, metadata, value, path, line)

    def _checked(
        self, annotation: Any, metadata: tuple[Any, ...], value: Any, path: Path, line: int
    ) -> Any:
        """Return what pydantic makes of `value`; tell what it does not like in plain words."""
        try:
            return _adapter(annotation, metadata).validate_python(value)
        except ValidationError as refused:
            secret = bool(path) and path[-1] in SECRETS
            for error in refused.errors(include_url=False)[:20]:
                self._bad(line, path, *_in_words(error, value, metadata, secret))
            return _BAD


def _line_below(pairs: Mapping[str, tuple[int, Any]], where: Path, line: int) -> int:
    """Return the line of `where` below a mapping whose key stands in `line`."""
    if not where or where[0] not in pairs:
        return line
    key_line, node = pairs[str(where[0])]
    return max(key_line, _line(node, where[1:])) if where[1:] else key_line


def _kind(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return _KINDS[type(_scalar(node))]


def _nearest(name: str, valid: list[str]) -> str:
    near = get_close_matches(name.lower(), valid, 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(valid)}"


def _range(metadata: tuple[Any, ...]) -> str:
    """Return the hint for a number with the bounds in `metadata`."""
    low, above = _bound(metadata, "ge"), _bound(metadata, "gt")
    high, below = _bound(metadata, "le"), _bound(metadata, "lt")
    if low is not None and high is not None:
        return f"give {low:g} to {high:g}"
    parts = [
        f"{low:g} or more" if low is not None else "",
        f"more than {above:g}" if above is not None else "",
        f"at most {high:g}" if high is not None else "",
        f"less than {below:g}" if below is not None else "",
    ]
    return "give " + ", ".join(part for part in parts if part)


def _bound(metadata: tuple[Any, ...], name: str) -> float | None:
    for constraint in metadata:
        bound = getattr(constraint, name, None)
        if bound is not None:
            return float(bound)
    return None


def _in_words(
    error: Mapping[str, Any], value: Any, metadata: tuple[Any, ...], secret: bool
) -> tuple[str, str]:
    """Return one of pydantic's errors as message and hint."""
    kind, context = str(error["type"]), error.get("ctx", {})
    shown = "" if secret else _shown(value)
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, "), ""
    if kind in _WANTED:
        quotes = isinstance(value, str) and _FLOAT.fullmatch(value.strip())
        return (
            f"must be {_WANTED[kind]}, found {shown or 'something else'}",
            "leave the quotes out" if quotes else "",
        )
    if kind in _BOUNDS:
        return f"{shown} {_BOUNDS[kind]} {next(iter(context.values())):g}", _range(metadata)
    if kind in ("enum", "literal_error"):
        valid = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        near = get_close_matches(str(value).lower(), valid, 1, 0.6)
        if near and len(valid) > 8:
            return f"{shown} is not known", f"did you mean {near[0]}?"
        hint = f"did you mean {near[0]}?" if near else ""
        return f"{shown} is not one of {', '.join(valid)}", hint
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        unit = " characters" if kind.startswith("string") else ""
        size = f"{len(value)}{unit}"
        if kind.endswith("short"):
            return f"has {size}, too few", f"give at least {context.get('min_length')}{unit}"
        return f"has {size}, too many", f"give at most {context.get('max_length')}{unit}"
    if kind == "string_pattern_mismatch":
        return f"{shown or 'this'} does not have the form {context.get('pattern')}", ""
    return ("cannot be used" if secret else str(error["msg"])), ""


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        return _quoted(str(value.value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)[:60]
    return _quoted(str(value))

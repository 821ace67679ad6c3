"""YAML nodes into models, along the types of the models' fields.

So each value is read as what its field wants: a release may be called 1.10 or ``off`` without
quotes. Values of secret fields are never quoted, nor is any value that stands under an unknown key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, get_args, get_origin

import yaml  # type: ignore[import-untyped, unused-ignore]
from pydantic import BaseModel, ValidationError

from coalmine.rollout.annotations import adapter, inner, is_text, key_of
from coalmine.rollout.problems import Path, Problem, problem_at
from coalmine.rollout.wording import elsewhere, in_words, nearest
from coalmine.rollout.yaml_nodes import MAX_DEPTH, MAX_NODES, kind, line_of, scalar

SECRETS = frozenset({"state", "metrics_token", "alertmanager_token", "token_sha256"})
"""Fields whose values are never quoted."""

BAD: Any = ...
"""Stands for a value that is given but cannot be read; its problem has been told."""


class NodeReader:
    """Reads nodes along the types, and collects what is wrong instead of stopping.

    Args:
        source: name of the file, for the messages.
        places: keys, and what they may stand in, for those that stand elsewhere.

    Attributes:
        found: what is wrong so far.
    """

    def __init__(self, source: str, places: Iterable[tuple[str, str]] = ()) -> None:
        self._source = source
        self._places = tuple(places)
        self.found: list[Problem] = []
        self._nodes = 0

    def _bad(self, line: int, path: Path, message: str, hint: str = "") -> Any:
        self.found.append(problem_at(self._source, line, path, message, hint))
        return BAD

    def value(
        self, annotation: Any, metadata: tuple[Any, ...], node: Any, path: Path, line: int
    ) -> Any:
        """Return the value of `node` for an annotation, or `BAD`. `line` is its key's."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self._bad(line, path, f"aliases make more than {MAX_NODES} values of this")
            return BAD
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
        return read if read is BAD else self._checked(type(read), metadata, read, path, line)

    def model(self, model: type[BaseModel], node: Any, path: Path, line: int) -> Any:
        """Return an instance of `model`; `BAD`, or what of it can be read, where it is faulty.

        What surrounds it is then checked too: a step with a misspelled key still has a weight.
        """
        before = len(self.found)
        pairs = self._pairs(node, path, line)
        if pairs is BAD:
            return BAD
        fields = {key_of(name, info): (name, info) for name, info in model.model_fields.items()}
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, (key_line, child) in pairs.items():
            if key not in fields:
                self._bad(key_line, (*path, key), "is not known",
                          elsewhere(key, self._places) or nearest(key, list(fields)))
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
            return SimpleNamespace(**{
                name: value for name, value in values.items() if value is not BAD})
        return self._checked(model, (), values, path, line)

    def _pairs(self, node: Any, path: Path, line: int, within: tuple[int, ...] = ()) -> Any:
        """Return line and node by key, merges (<<) resolved; tell keys that stand there twice."""
        if not isinstance(node, yaml.MappingNode):
            return self._bad(line, path, f"must be a mapping (key: value), found {kind(node)}")
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
                        merged = {**({} if more is BAD else more), **merged}
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
            return self._bad(line, path, f"must be a list, found {kind(node)}")
        return tuple(
            self.value(item, (), child, (*path, index), child.start_mark.line + 1)
            for index, child in enumerate(node.value)
        )

    def _entries(self, key_type: Any, item: Any, node: Any, path: Path, line: int) -> Any:
        pairs = self._pairs(node, path, line)
        if pairs is BAD:
            return BAD
        read = {}
        for key, (key_line, child) in pairs.items():
            named = self._checked(key_type, (), key, (*path, key), key_line)
            read[key] = self.value(item, (), child, (*path, key), key_line)
            if named is BAD:
                read[key] = BAD
        return read

    def _leaf(self, annotation: Any, metadata: tuple[Any, ...], node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            return self._bad(line, path, f"must be one value, found {kind(node)}")
        value = scalar(node)
        if value is None:
            return self._bad(line, path, "has no value", "give one, or leave the key out")
        if is_text(annotation):
            value = node.value
        if isinstance(value, float) and not abs(value) < float("inf"):
            return self._bad(line, path, f"{node.value} is not a number that can be used")
        return self._checked(annotation, metadata, value, path, line)

    def _checked(
        self, annotation: Any, metadata: tuple[Any, ...], value: Any, path: Path, line: int
    ) -> Any:
        """Return what pydantic makes of `value`; tell what it does not like in plain words."""
        try:
            return adapter(annotation, metadata).validate_python(value)
        except ValidationError as refused:
            secret = bool(path) and path[-1] in SECRETS
            for error in refused.errors(include_url=False)[:20]:
                self._bad(line, path, *in_words(error, value, metadata, secret))
            return BAD


def _line_below(pairs: Mapping[str, tuple[int, Any]], where: Path, line: int) -> int:
    """Return the line of `where` below a mapping whose key stands in `line`."""
    if not where or where[0] not in pairs:
        return line
    key_line, node = pairs[str(where[0])]
    return max(key_line, line_of(node, where[1:])) if where[1:] else key_line

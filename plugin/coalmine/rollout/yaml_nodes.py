"""YAML text into nodes, which know their lines; bombs and nests are refused on the way."""

from __future__ import annotations

import re
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from coalmine.rollout.problems import Path, problem_at

MAX_TEXT = 128 * 1024
"""Characters of a policy file; a hundred services need half of it."""

MAX_NODES = 20_000
"""YAML nodes read, aliases followed each time: a bomb of aliases ends here."""

MAX_DEPTH = 40
"""How deep YAML may be nested; the policy needs 7."""

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


def parse(text: str, source: str) -> Any:
    """Return the root node of `text`, or the :class:`Problem` because of which there is none."""
    if len(text) > MAX_TEXT:
        return problem_at(source, 1, (), f"the file has more than {MAX_TEXT} characters")
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if depth > MAX_DEPTH:
                return problem_at(source, line, (), f"nested more than {MAX_DEPTH} deep")
            if count > MAX_NODES:
                return problem_at(source, line, (), f"the file has more than {MAX_NODES} values")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return problem_at(source, line, (), "a character that YAML does not allow", "remove it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        for sign, message, hint in _SYNTAX:
            if sign in f"{error.context} {error.problem}":
                return problem_at(source, line, (), message, hint)
        # PyYAML's own words may quote a secret, so they are not passed on.
        return problem_at(source, line, (), "this is not YAML",
                          "quote text that begins with a sign")
    if root is None:
        return problem_at(source, 1, (), "the file is empty", "name at least one of the services")
    return root


def line_of(root: Any, path: Path) -> int:
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
_ODD = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
"""A number as people write it."""


def scalar(node: Any) -> Any:
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
    if NUMBER.fullmatch(text):
        return float(text)
    if _ODD.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "text", type(None): "nothing"}


def kind(node: Any) -> str:
    """Return what a node is, in words."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return _KINDS[type(scalar(node))]

"""Documents in YAML: what JSON has, written otherwise.

Values are those of YAML's core schema that JSON could have written: ``yes``, ``on``, dates,
``0755`` and ``0x1F`` are texts. Keys are texts as they are written. There are no tags. The parser's
events are read one by one, so that nothing is built that is too deep, or too large with what its
aliases stand for.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from labapi.exceptions import InvalidInput
from labapi.plans.problems import shown

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first one if libyaml is there

MERGE = "<<"
MAX_VALUES = 400_000  # keys and values: each takes 3 µs, and 10,000 entries have half as many
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_is_whole = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})").fullmatch
_is_decimal = re.compile(
    r"[-+]?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{0,99})?(?:[eE][-+]?[0-9]{1,3})?"
).fullmatch
_is_infinite = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)").fullmatch


@dataclass(slots=True)
class _Node:
    """An object or a list that is being read.

    :ivar size: what it counts so far
    :ivar depth: how deep it is nested so far, itself included
    :ivar key: of an object, the key whose value is next; None: a key is next
    :ivar merged: what ``<<`` puts in below the object's own
    """

    value: dict[str, Any] | list[Any]
    anchor: str | None
    size: int = 2
    depth: int = 1
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


def read(text: str, max_depth: int, max_size: int) -> Any:
    """Return what a document says, as JSON has it.

    :param max_depth: the deepest nesting of objects and lists
    :param max_size: characters that its scalars may have together, with one more for each; what an
        alias stands for counts again
    :raises InvalidInput: it is no YAML, or more than JSON has, or too deep or too large; the text
        names the line
    """
    parser = _Parser(text)
    try:
        return _Builder(parser, max_depth, max_size).document()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidInput(f"the body is not YAML: {line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"the body is not YAML: {' '.join(str(error).split())[:200]}") from None
    finally:
        parser.dispose()


class _Builder:
    def __init__(self, parser: Any, max_depth: int, max_size: int) -> None:
        self._parser = parser
        self._max_depth = max_depth
        self._max_size = max_size
        self._open: list[_Node] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._root: Any = None
        self._line = 0

    def document(self) -> Any:
        """Read the only document that there is."""
        documents = 0
        for count, event in enumerate(iter(self._parser.get_event, None)):
            self._line = event.start_mark.line + 1
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise self._wrong("a second document begins; expected one")
            if count > MAX_VALUES:
                raise self._wrong(f"more than {MAX_VALUES} keys and values")
            self._read(event)
        return self._root

    def _read(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            node = self._open[-1] if self._open else None
            if node is not None and node.key is None and isinstance(node.value, dict):
                self._key(node, event)
                return
            size = len(event.value) + 1
            self._done(_scalar(event, self._wrong), size, 0, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._wrong(f"*{event.anchor[:64]} stands for nothing that ends before it")
            self._done(*self._anchors[event.anchor])
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_tag(event)
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self._open.pop()
            self._done(_merged(node), node.size, node.depth, node.anchor)

    def _begin(self, event: Any) -> None:
        self._check_depth(1)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._anchors.pop(event.anchor, None)
        self._open.append(_Node(value, event.anchor))

    def _key(self, node: _Node, event: Any) -> None:
        key = event.value
        if key != MERGE and key in node.value:
            raise self._wrong(f"the key {shown(key)} is there twice")
        node.key = key
        self._count(node, len(key) + 1)

    def _done(self, value: Any, size: int, depth: int, anchor: str | None = None) -> None:
        """Put a value that is complete where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = (value, size, depth)
        if not self._open:
            self._root = value
            return
        node = self._open[-1]
        self._count(node, size)
        self._check_depth(depth)  # an alias brings all levels at once
        node.depth = max(node.depth, depth + 1)
        if isinstance(node.value, list):
            node.value.append(value)
            return
        if node.key is None:
            raise self._wrong("a key is a text or a number, not an object or a list")
        if node.key == MERGE:
            self._merge(node, value)
        else:
            node.value[node.key] = value
        node.key = None

    def _merge(self, node: _Node, value: Any) -> None:
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in found):
            raise self._wrong("'<<' merges an object, or a list of them")
        node.merged += found

    def _count(self, node: _Node, size: int) -> None:
        node.size += size
        if node.size > self._max_size:
            raise self._wrong(f"more than {self._max_size} bytes, with what aliases stand for")

    def _check_depth(self, more: int) -> None:
        if len(self._open) + more > self._max_depth:
            raise self._wrong(f"nested deeper than {self._max_depth} levels")

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            raise self._wrong(f"the tag {shown(event.tag)}; a plan has none")

    def _wrong(self, problem: str) -> InvalidInput:
        return InvalidInput(f"line {self._line}: {problem}")


def _merged(node: _Node) -> Any:
    if not node.merged:
        return node.value
    found: dict[str, Any] = {}
    for other in reversed(node.merged):
        found.update(other)
    return found | dict(node.value)


def _scalar(event: Any, wrong: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # in quotes, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _is_whole(text):
        return int(text)
    if _is_decimal(text) and math.isfinite(float(text)):
        return float(text)
    if _is_infinite(text) or _is_decimal(text):
        raise wrong(f"{shown(text)} is no number that JSON has")
    return text

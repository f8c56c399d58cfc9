"""Test plans as they are written down: JSON or YAML, sent as they are.

Only values of their ``environment`` can be put in place here; all else is the lab's to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labapi_client.exceptions import BadDocument

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

JSON, YAML = "application/json", "application/yaml"
MAX_FILE = 32 * 1024 * 1024  # bytes of a file that are read; the lab may take fewer
MAX_SHOWN = 20  # names that an error tells of

# What a plan may be given as: an object, a file, or its text.
Given = Mapping[str, Any] | Path | str | bytes

_KINDS = {".json": JSON, ".yaml": YAML, ".yml": YAML}


@dataclass(frozen=True, slots=True)
class Document:
    """A plan as it is sent.

    :ivar kind: its media type
    """

    data: bytes
    kind: str


def document(given: Given, environment: Mapping[str, Any] | None = None) -> Document:
    """Return a plan as it is sent.

    :param given: a :class:`~pathlib.Path` is a file: the end of its name says whether it is JSON or
        YAML, else its content does, as it does of a text
    :param environment: values in place of those that its ``environment`` has, by their path as
        ``get_param`` has it: ``{"Data:STA1": "lab-1"}``
    :raises BadDocument: it is too large, or ``environment`` does not fit it
    :raises OSError: the file cannot be read
    """
    found = _read(given)
    if not environment:
        return found
    return _json_with(found, environment) if found.kind == JSON else _yaml_with(found, environment)


def _read(given: Given) -> Document:
    if isinstance(given, Mapping):
        return Document(json.dumps(given).encode(), JSON)
    kind = None
    if isinstance(given, Path):
        kind = _KINDS.get(given.suffix.lower())
        with given.open("rb") as file:
            given = file.read(MAX_FILE + 1)
    data = given.encode() if isinstance(given, str) else given
    if len(data) > MAX_FILE:
        raise BadDocument(f"the plan is larger than {MAX_FILE} bytes")
    return Document(data, kind or (JSON if data.lstrip()[:1] == b"{" else YAML))


def _json_with(found: Document, environment: Mapping[str, Any]) -> Document:
    try:
        plan = json.loads(found.data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"the plan is not JSON: {error}") from None
    if not isinstance(plan, dict):
        raise BadDocument("the plan is not a JSON object")
    for path, value in environment.items():
        place = plan.get("environment")
        *above, last = path.split(":")
        for name in above:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise _unknown(path, _paths(plan.get("environment")))
        place[last] = _like(place[last], value)
    return Document(json.dumps(plan).encode(), JSON)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a name that stands there twice, the lab would not hear."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _paths(environment: Any, above: str = "") -> list[str]:
    if not isinstance(environment, dict):
        return []
    found = []
    for name, value in environment.items():
        inner = _paths(value, f"{above}{name}:")
        found += inner or [f"{above}{name}"]
    return found


def _like(old: Any, value: Any) -> Any:
    """Return a text as the kind of value that it stands in for."""
    if not isinstance(value, str) or isinstance(old, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _yaml_with(found: Document, environment: Mapping[str, Any]) -> Document:
    """Change the nodes of a text, so that no value is read as anything by anybody but the lab."""
    import yaml

    try:
        root = yaml.compose(found.data, Loader=yaml.SafeLoader)
        for path, value in environment.items():
            root = _replaced(root, ["environment", *path.split(":")], value, path)
        text: str = yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadDocument(f"the plan is not YAML: {error}") from None
    return Document(text.encode(), YAML)


def _replaced(node: Node, names: list[str], value: Any, path: str) -> MappingNode:
    """Return a copy of a mapping with one value changed: an alias elsewhere stays as it is."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise _unknown(path, [])
    first, *below = names
    pairs = list(node.value)
    at = next((at for at, (key, _) in enumerate(pairs) if key.value == first), None)
    if at is None:
        raise _unknown(path, [str(key.value) for key, _ in pairs])
    key, old = pairs[at]
    if below:
        new: Any = _replaced(old, below, value, path)
    else:
        text = "" if old.tag == "tag:yaml.org,2002:str" else None
        new = yaml.compose(json.dumps(_like(text, value)), Loader=yaml.SafeLoader)
    pairs[at] = (key, new)
    return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)


def _unknown(path: str, known: list[str]) -> BadDocument:
    has = f"; there are {', '.join(known[:MAX_SHOWN])}" if known else ""
    return BadDocument(f"the environment of the plan has no {path}{has}")

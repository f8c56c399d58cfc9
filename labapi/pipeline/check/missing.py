"""Problems with names of sections, and suggestions for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from labapi.pipeline.check.factory import APP, FILTER, meant
from labapi.pipeline.check.file import PasteFile, has_scheme
from labapi.pipeline.check.finding import Place, nearest, nearest_name

PREFIXES = {
    APP: ("app", "application", "composite", "composit", "pipeline", "filter-app"),
    FILTER: ("filter",),
}
_TITLE = re.compile(r"\W*(?P<word>filter-app|[A-Za-z]+)\W+(?P<name>\w.*?)\W*")


def called(file: PasteFile, kind: str) -> list[tuple[str, str]]:
    """Return the sections of a kind, with their names."""
    split = [(section, *section.partition(":")[::2]) for section in file.sections]
    return [(section, name.strip()) for section, word, name in split if word in PREFIXES[kind]]


def no_factory(kind: str, name: str, options: Iterable[str]) -> str:
    """Return what is wrong with a section that does not say what it is.

    :param options: that it has
    """
    near = nearest_name("use", options)
    guess = f"; is '{near}' meant to be 'use'?" if near else meant(kind, name)
    return f"the section does not say what to use{guess or _EXAMPLES[kind]}"


_EXAMPLES = {FILTER: ", such as egg:labapi-middleware#proxy", APP: ", such as egg:labapi#api"}


def no_section(file: PasteFile, kind: str, name: str, named: Place) -> str:
    """Return what is wrong with a name that no section of a kind has.

    :param named: the place that names it
    """
    if name[:1] in ("'", '"'):
        return f"{name}: take away the quotation marks"
    if not named.section:
        problem = "there is no section [composite:main], [pipeline:main] or [app:main]"
        near = nearest_name(f"composite:{name}", file.sections)
        return f"{problem}; [{near}] has to be {_written(kind, near, name)}" if near else problem
    other = FILTER if kind == APP else APP
    if any(found == name for _, found in called(file, other)):
        if kind == FILTER:
            return f"'{name}' is an application, which can only stand last"
        return f"'{name}' is a filter, and here, last, belongs an application"
    title = next((title for title in file.sections if _almost(title, name)), None)
    if title is not None:
        right = _written(kind, title, name)
        return f"there is no section [{kind}:{name}]; [{title}] has to be {right}"
    uri = meant(kind, name) if named.option == "use" and "#" in name else ""
    known = [found for _, found in called(file, kind) if not has_scheme(found)]
    guess = uri or nearest(name, known)
    if not guess and named.option == "use":
        guess = meant(kind, name)
    return f"there is no section [{kind}:{name}]{guess}"


def _almost(title: str, name: str) -> bool:
    """Say whether a section would have the name if Paste knew its first word."""
    match = _TITLE.fullmatch(title)
    kinds = {kind for prefixes in PREFIXES.values() for kind in prefixes}
    return title == name or (
        match is not None
        and match["name"] == name
        and nearest_name(match["word"], kinds) is not None
    )


def _written(kind: str, title: str, name: str) -> str:
    match = _TITLE.fullmatch(title)
    return f"[{nearest_name(match['word'] if match else '', PREFIXES[kind]) or kind}:{name}]"

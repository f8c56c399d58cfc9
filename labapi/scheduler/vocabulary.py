"""The words that hosts have ever used of themselves, and requirements that none has ever met."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from labapi.scheduler.host_state import HostState
from labapi.scheduler.requirements import LIMITS, Requirement, is_number

# So many names of facts are noted; agents make them up, and beyond that no name is unknown.
MAX_FACTS = 4096
# So many words, of so many characters, are compared with one that is not known.
MAX_WORDS, MAX_WORD = 500, 64


class Vocabulary:
    """The keys of metadata and facts, and the values of metadata, since this process began.

    What was forgotten since is known all the same: a host may be away for an hour.
    """

    def __init__(self) -> None:
        self._metadata: dict[str, set[str]] = {}
        self._facts: set[str] = set()

    def note(self, host: HostState) -> None:
        """Take note of a host's words."""
        for key, value in host.metadata.items():
            self._metadata.setdefault(key, set()).add(value)
        if len(self._facts) < MAX_FACTS:
            self._facts.update(host.facts)

    def knows(self, key: str) -> bool:
        """Say whether a host may have the key."""
        return key in self._metadata or key in self._facts or len(self._facts) >= MAX_FACTS

    def never_met(
        self,
        requirements: Iterable[Requirement],
        hosts: Iterable[HostState],
        visible: Callable[[HostState], bool],
    ) -> list[str]:
        """Say which requirements no host has ever met, and what may be meant instead.

        Facts come and go: of them only the key has to be known. What is negated is met by a host
        without the key.

        :param hosts: whose words may be named
        :param visible: says of which of them the caller may know
        """
        unknown = [one for one in requirements if not one.negated and not self._possible(one)]
        if not unknown:
            return []
        seen = [host for host in hosts if visible(host)]
        return [self._problem(one, seen) for one in unknown]

    def _possible(self, requirement: Requirement) -> bool:
        key = requirement.key
        if key in self._facts or len(self._facts) >= MAX_FACTS:
            return True
        values = self._metadata.get(key, ())
        if requirement.comparison in LIMITS:
            return any(is_number(value) for value in values)
        if requirement.comparison:
            return any(value in values for value in requirement.values)
        return bool(values)

    def _problem(self, requirement: Requirement, hosts: list[HostState]) -> str:
        key = requirement.key
        if key not in self._metadata:
            keys = {word for host in hosts for word in (*host.metadata, *host.facts)}
            return f"no host has ever had the key {key!r}{_meant(key, keys)}"
        values = {host.metadata[key] for host in hosts if key in host.metadata}
        if requirement.comparison in LIMITS:
            return f"{requirement.text!r}: no host has ever had a number as {key!r}"
        hint = next(filter(None, (_meant(wanted, values) for wanted in requirement.values)), "")
        return f"no host has ever had {requirement.text!r}{hint}"


def _meant(word: str, words: Iterable[str]) -> str:
    # Comparing takes 10 µs for each word, and much longer for a long one.
    short = sorted(other for other in words if len(other) <= MAX_WORD)[:MAX_WORDS]
    near = difflib.get_close_matches(word[:MAX_WORD], short, 1)
    return f"; did you mean {near[0]!r}?" if near else ""

"""What a filter says of its place in a pipeline, for tools that look before anything is built.

A factory carries, beside ``options``:

``gives``
    what requests have to the right of the filter: :data:`IDENTITY`, :data:`CONTEXT`,
    :data:`CLIENT`, or the empty string
``needs(global_conf, **local_conf)``
    the :class:`Need` objects of a filter with these options
``advice(global_conf, **local_conf)``
    the :class:`Advice` objects about a filter with these options; ``workers`` in the global ones is
    how many processes serve, ``uses`` how often the section is used, where the server says so
``repeatable``
    whether several sections of this filter may stand in one pipeline
"""

from __future__ import annotations

from dataclasses import dataclass

# A confirmed identity, the request context, and the client's own address.
IDENTITY = "identity"
CONTEXT = "context"
CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that works, and is probably a mistake.

    :param option: the option that it is about; empty for the filter itself
    :param problem: one line
    """

    option: str
    problem: str


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a filter to the left has to give.

    :param what: :data:`IDENTITY`, :data:`CONTEXT` or :data:`CLIENT`
    :param option: the option that makes it needed; empty for the filter itself
    :param required: false where the filter works without it, unless a filter to its right gives it
    """

    what: str
    option: str = ""
    required: bool = True

"""The table of the API: what each URL answers to.

A row is a path as Routes writes it, and for each HTTP method the controller and the action that
answer. HEAD works wherever GET does, and every other method gets a 405 that names these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """One URL.

    :ivar path: relative to ``/v2.1``
    :ivar actions: ``{HTTP method: (controller, action)}``
    """

    path: str
    actions: dict[str, tuple[str, str]]


ROUTES = (
    Route("/", {"GET": ("versions", "show")}),
    Route("/slaves", {"GET": ("slaves", "index")}),
    Route("/slaves/detail", {"GET": ("slaves", "detail")}),
    Route("/slaves/{slave_id}", {"GET": ("slaves", "show")}),
    Route(
        "/slaves/{slave_id}/metadata",
        {"GET": ("metadata", "index"), "PUT": ("metadata", "replace")},
    ),
    Route(
        "/slaves/{slave_id}/metadata/{key}",
        {
            "GET": ("metadata", "show"),
            "PUT": ("metadata", "update"),
            "DELETE": ("metadata", "delete"),
        },
    ),
    Route("/testcases", {"GET": ("testcases", "index"), "POST": ("testcases", "create")}),
    Route(
        "/testcases/{testcase_id}",
        {"GET": ("testcases", "show"), "DELETE": ("testcases", "cancel")},
    ),
    Route("/testcases/{testcase_id}/output", {"GET": ("outputs", "show")}),
    Route("/services", {"GET": ("services", "index")}),
    Route("/limits", {"GET": ("limits", "index")}),
    Route("/health", {"GET": ("health", "show")}),
)

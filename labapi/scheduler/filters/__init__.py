"""What says no to a host, a class on a page each.

What the author of a filter imports::

    from labapi.scheduler.filters import Filter


    class Quiet(Filter):
        \"\"\"Leaves hosts alone on which much goes on.\"\"\"

        name = "quiet"

        def passes(self, host, spec):
            return host.facts.get("load1", 0) < 4

The class is named by an entry point in the group ``labapi.scheduler.filters``;
``docs/scheduler.md`` tells the whole story.
"""

from labapi.scheduler.filters.base import Filter, Lack

__all__ = ["Filter", "Lack"]

"""What prefers one host to another, a class on a page each.

What the author of a weigher imports::

    from labapi.scheduler.weighers import Weigher


    class Cool(Weigher):
        \"\"\"Prefers cool machines.\"\"\"

        def weigh(self, host, spec):
            return 1 - host.facts.get("celsius", 40) / 100

The class is named by an entry point in the group ``labapi.scheduler.weighers``;
``docs/scheduler.md`` tells the whole story.
"""

from labapi.scheduler.weighers.base import Weigher

__all__ = ["Weigher"]

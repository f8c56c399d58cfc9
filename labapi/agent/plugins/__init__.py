"""What a plugin author imports.

For example::

    from labapi.agent.plugins import Plugin, Run, method


    class Switch(Plugin):
        \"\"\"Looks after the lab's switches.\"\"\"

        @method("Show a port. port: its number", schema={"type": "object"})
        def show(self, run: Run, parameters):
            return run.execute(["swctl", "show", str(parameters["port"])])

The class is named by an entry point in the group ``labapi.plugins``; ``docs/plugins.md`` tells the
whole story.
"""

from labapi.agent.errors import CannotStart, CaseError, TestFailed
from labapi.agent.plugins.base import Outcome, Plugin, method
from labapi.agent.plugins.run import Run, Stopped

__all__ = [
    "CannotStart",
    "CaseError",
    "Outcome",
    "Plugin",
    "Run",
    "Stopped",
    "TestFailed",
    "method",
]

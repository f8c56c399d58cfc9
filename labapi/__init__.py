"""A control plane for test labs: from an HTTP API to processes on lab machines."""

from importlib.metadata import version

__version__ = version("labapi")

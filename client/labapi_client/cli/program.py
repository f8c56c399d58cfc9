"""``lab`` as a process: how it starts, and how it ends."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

# Importing makes many objects and hardly any garbage: looking for it takes a tenth of a start.
GARBAGE_AFTER = 100_000  # objects, in place of 700

USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main() -> int:
    """Run the program, and return its exit status."""
    try:
        _open_streams()
        status = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        status = PIPE_CLOSED
    except OSError as error:
        with suppress(OSError):
            sys.stderr.write(f"lab: standard output: {error.strerror or error}\n")
        status = USAGE
    else:
        if status != PIPE_CLOSED:
            return status
    # What could not be written the interpreter would try again at its end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run() -> int:
    gc.set_threshold(GARBAGE_AFTER)
    from labapi_client.cli.shell import Shell

    if "_ARGCOMPLETE" in os.environ:
        from labapi_client.cli.completion import complete

        complete(Shell())
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return Shell().run(sys.argv[1:])


def _open_streams() -> None:
    """Have the null device stand for each standard stream that is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115

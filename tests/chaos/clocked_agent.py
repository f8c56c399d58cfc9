"""labapi-agent on a machine whose clock can be set: python -m tests.chaos.clocked_agent FILE …

FILE holds the seconds by which the wall clock is wrong. What counts durations is not touched: a
clock that is set does not touch it either.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_file = Path(sys.argv.pop(1))
_right = time.time


def _wrong() -> float:
    return _right() + float(_file.read_text() or 0)


time.time = _wrong

if __name__ == "__main__":
    from labapi.cmd.agent import main

    main()

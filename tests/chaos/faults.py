"""What goes wrong, at random, and is put right again after a while."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.lab import DOWN_TIME, LOST_AFTER, ChaosLab
from tests.chaos.servers import Server


def _catches(pid: int, number: int) -> bool:
    """Say whether a process does something of its own on a signal."""
    with contextlib.suppress(OSError):  # it has ended
        caught = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
        return any(int(mask, 16) >> (number - 1) & 1 for mask in caught)
    return False


class Faults(threading.Thread):
    """Breaks one thing after another until it is stopped.

    :param seed: the order of faults depends on it alone
    """

    def __init__(self, lab: ChaosLab, seed: int, say: Callable[[str], None]) -> None:
        super().__init__(name="faults", daemon=True)
        self._lab = lab
        self._random = random.Random(seed)
        self._say = say
        self._stopping = threading.Event()
        self.counts: Counter[str] = Counter()
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Stop breaking things, with everything put right."""
        self._stopping.set()
        self.join(300)
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Break, wait, put right, wait."""
        kinds = [
            (6, self._kill_program),
            (3, self._pause_program),
            (1, self._pause_long),
            (2, self._kill_server),
            (2, self._drop_connections),
            (1, self._pause_server),
            (1, self._fill_disk),
            (3, self._cut),
            (2, self._slow_down),
            (3, self._swallow),
            (2, self._replay),
            (2, self._set_clock),
            (2, self._ruin_journal),
            (3, self._stop_cleanly),
            (1, self._no_conductor),
            (2, self._kill_parent),
        ]
        weights, faults = zip(*kinds, strict=True)
        try:
            while not self._stopping.wait(self._random.uniform(0.3, 2.5)):
                (fault,) = self._random.choices(faults, weights)
                fault()
        except BaseException as error:  # noqa: BLE001 - told to the test, which fails
            self.error = error

    def _note(self, kind: str, name: str) -> None:
        self.counts[kind] += 1
        self._say(f"{kind} {name}")

    def _kill_program(self) -> None:
        program = self._random.choice(self._lab.programs)
        self._note("kill -9", program.name)
        program.kill()
        self._stopping.wait(self._random.uniform(0, 4))
        program.restart()

    def _stop_cleanly(self) -> None:
        program = self._random.choice(self._lab.programs)
        self._note("SIGTERM", program.name)
        assert program.process is not None
        listened = _catches(program.process.pid, signal.SIGTERM)
        status = program.leave()
        # One that has not got as far as to listen to signals just dies of it.
        new = not listened and status == -signal.SIGTERM
        assert status == 0 or new, f"{program.name} ended with {status}"
        self._stopping.wait(self._random.uniform(0, 3))
        program.restart()

    def _kill_parent(self) -> None:
        """Kill the parent of an API's workers alone: they end, and the port is free again."""
        program = self._random.choice(self._lab.apis)
        self._note("kill -9 of the parent", program.name)
        assert program.process is not None
        program.process.process.kill()
        program.process.process.wait(60)
        program.restart()

    def _no_conductor(self) -> None:
        """Have nobody hear anything for longer than a silent host counts as up."""
        self._note("kill -9", "both conductors")
        for program in self._lab.conductors:
            program.kill()
        self._stopping.wait(self._random.uniform(1, DOWN_TIME * 1.5))
        for program in self._lab.conductors:
            program.restart()

    def _pause_program(self) -> None:
        self._pause(self._random.choice(self._lab.programs))

    def _pause_long(self) -> None:
        """Silence an agent or a conductor until it is down, or until it is lost."""
        program = self._random.choice([*self._lab.agents, *self._lab.conductors])
        self._pause(program, DOWN_TIME * 1.2, LOST_AFTER * 1.5)

    def _kill_server(self) -> None:
        server = self._random.choice([self._lab.rabbitmq, self._lab.mariadb])
        self._note("kill -9", server.name)
        server.kill()
        self._stopping.wait(self._random.uniform(0, 3))
        server.restart()

    def _pause_server(self) -> None:
        self._pause(self._random.choice([self._lab.rabbitmq, self._lab.mariadb]))

    def _pause(self, server: Server, shortest: float = 0.5, longest: float = 12) -> None:
        self._note("SIGSTOP", server.name)
        server.signal(signal.SIGSTOP)
        try:
            self._stopping.wait(self._random.uniform(shortest, longest))
        finally:
            server.signal(signal.SIGCONT)

    def _drop_connections(self) -> None:
        server = self._random.choice([self._lab.rabbitmq, self._lab.mariadb])
        self._note("drop connections", server.name)
        server.drop_connections()

    def _cut(self) -> None:
        proxy = self._random.choice(self._lab.proxies)
        self._note("cut", proxy.name)
        proxy.cut()

    def _slow_down(self) -> None:
        proxy = self._random.choice(self._lab.proxies)
        self._note("slow down", proxy.name)
        proxy.delay(self._random.uniform(0.01, 0.3))
        self._stopping.wait(self._random.uniform(1, 6))
        proxy.delay(0)

    def _swallow(self) -> None:
        proxy = self._random.choice(self._lab.proxies)
        self._note("black hole", proxy.name)
        proxy.swallow()
        self._stopping.wait(self._random.uniform(1, DOWN_TIME * 1.5))
        proxy.flow()

    def _replay(self) -> None:
        count = self._lab.recorder.replay(self._random, 20)
        self._note("replay", f"{count} commands")

    def _set_clock(self) -> None:
        """Set a lab machine's clock, back to 1970 or days ahead."""
        agent = self._random.choice(self._lab.agents)
        days = self._random.choice([-20_000, -2, 0, 3, 40])
        self._note("set clock", f"{agent.name} by {days} days")
        agent.clock.write_text(str(days * 86400.0))

    def _ruin_journal(self) -> None:
        agent = self._random.choice(self._lab.agents)
        journal = self._lab.journal_of(agent.name)
        ruin = self._random.choice(["lose", "cut in half", "damage"])
        self._note(f"{ruin} journal", agent.name)
        agent.kill()
        if ruin == "lose" or not journal.exists():
            for file in journal.parent.glob(f"{journal.name}*"):
                file.unlink()
        elif ruin == "cut in half":
            os.truncate(journal, journal.stat().st_size // 2)
        else:
            with journal.open("r+b") as damaged:
                damaged.seek(self._random.randrange(max(journal.stat().st_size - 512, 1)))
                damaged.write(self._random.randbytes(512))
        agent.restart()

    def _fill_disk(self) -> None:
        agent = self._random.choice(self._lab.agents)
        state = self._lab.state_of(agent.name)
        if not state.is_mount():
            return
        self._note("fill disk", agent.name)
        ballast = state / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(65536))
                file.flush()
        self._stopping.wait(self._random.uniform(1, 5))
        ballast.unlink(missing_ok=True)

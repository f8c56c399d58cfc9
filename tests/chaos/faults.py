"""What goes wrong, at random, and is put right again after a while."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable

from tests.chaos.lab import ChaosLab
from tests.chaos.servers import Server


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
            (4, self._pause_program),
            (2, self._kill_server),
            (2, self._drop_connections),
            (1, self._pause_server),
            (1, self._fill_disk),
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

    def _pause_program(self) -> None:
        program = self._random.choice(self._lab.programs)
        self._pause(program)

    def _kill_server(self) -> None:
        server = self._random.choice([self._lab.rabbitmq, self._lab.mariadb])
        self._note("kill -9", server.name)
        server.kill()
        self._stopping.wait(self._random.uniform(0, 3))
        server.restart()

    def _pause_server(self) -> None:
        self._pause(self._random.choice([self._lab.rabbitmq, self._lab.mariadb]))

    def _pause(self, server: Server) -> None:
        self._note("SIGSTOP", server.name)
        server.signal(signal.SIGSTOP)
        try:
            self._stopping.wait(self._random.uniform(0.5, 12))
        finally:
            server.signal(signal.SIGCONT)

    def _drop_connections(self) -> None:
        server = self._random.choice([self._lab.rabbitmq, self._lab.mariadb])
        self._note("drop connections", server.name)
        server.drop_connections()

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

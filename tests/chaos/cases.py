"""Clients that post cases, and keep count of what they were promised."""

from __future__ import annotations

import itertools
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.chaos.lab import HOSTS, ChaosLab

LINES = 200

# Each begins by adding a line to a file of the case's own: as many lines, as many executions.
SCRIPTS = {
    "quick": "{mark}; seq {lines}",
    "slow": "{mark}; for n in $(seq 10); do seq $((n*20-19)) $((n*20)); sleep 0.2; done",
    "fails": "{mark}; seq {lines}; exit 3",
    "forks": "{mark}; (setsid sleep 60 & nohup sleep 60 & trap '' TERM; sleep 60) & seq {lines}",
    "stubborn": "{mark}; trap '' TERM INT HUP; seq {lines}; sleep 60 & sleep 60; sleep 60",
}
EXPECTED = "".join(f"{n}\n" for n in range(1, LINES + 1))


@dataclass
class Accepted:
    """A case that was answered 202."""

    tag: str
    id: str
    kind: str
    rerun: bool


@dataclass
class Ledger:
    """What was promised."""

    accepted: list[Accepted] = field(default_factory=list)
    unanswered: int = 0
    refused: list[str] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)


class Client(threading.Thread):
    """Posts cases until it is stopped; each with a key, sent again until it is answered."""

    def __init__(self, lab: ChaosLab, seed: int, ledger: Ledger, lock: threading.Lock) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self._lab = lab
        self._random = random.Random(seed)
        self._seed = seed
        self._ledger = ledger
        self._lock = lock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop after the case at hand has been answered."""
        self._stopping.set()

    def run(self) -> None:
        """Post one case after another."""
        number = 0
        while not self._stopping.wait(self._random.uniform(0.05, 0.6)):
            number += 1
            self._post(f"{self._seed}-{number}")

    def _post(self, tag: str) -> None:
        kind = self._random.choice(list(SCRIPTS))
        rerun = self._random.random() < 0.2
        mark = f"echo $LABAPI_ATTEMPT >> {self._lab.cases}/{tag}"
        script = SCRIPTS[kind].format(mark=mark, lines=LINES)
        body = {
            "plugin": "linux_system",
            "host": self._random.choice(HOSTS),
            "method": "run_shell",
            # Whatever the shell starts has the mark in its environment, and is found by it.
            "parameters": {"command": "env", "args": self._argv(script)},
            "timeout": 3 if kind == "stubborn" else 15,
            "rerun_on_loss": rerun,
        }
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            url = self._random.choice(self._lab.urls)
            try:
                answer = requests.post(
                    f"{url}/testcases", json=body, headers={"Idempotency-Key": tag}, timeout=10
                )
            except requests.RequestException:
                time.sleep(0.3)
                continue
            with self._lock:
                count = self._ledger.answers
                count[answer.status_code] = count.get(answer.status_code, 0) + 1
                if answer.status_code in (200, 202):
                    case = Accepted(tag, answer.json()["id"], kind, rerun)
                    self._ledger.accepted.append(case)
                    return
                if answer.status_code not in (503, 429):
                    self._ledger.refused.append(f"{answer.status_code} {answer.text}")
                    return
            time.sleep(0.3)
        with self._lock:
            self._ledger.unanswered += 1

    def _argv(self, script: str) -> list[str]:
        return [f"LABAPI_CHAOS={self._lab.folder}", "sh", "-c", script]


def executions(folder: Path, tag: str) -> list[str]:
    """Return the attempts that ran a case, one for each time that it ran."""
    try:
        return (folder / tag).read_text().split()
    except FileNotFoundError:
        return []


def fetch(urls: list[str], case: str) -> dict[str, Any]:
    """Return a case with all of its output."""
    deadline = time.monotonic() + 180
    for url in itertools.cycle(urls):
        try:
            answer = requests.get(f"{url}/testcases/{case}", timeout=30)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"case {case} cannot be read: {error}") from error
            time.sleep(0.5)
        else:
            return found
    raise AssertionError  # the loop returns or raises

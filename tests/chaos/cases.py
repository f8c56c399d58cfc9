"""Clients that post cases, and keep count of what they were promised."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.chaos.lab import HOSTS, ChaosLab

LINES = 200
MANY = 35_200  # lines, some 200 kB
PATIENCE = 240.0  # seconds that a client asks again before it gives up


def numbers(lines: int) -> str:
    """Return what ``seq`` prints."""
    return "".join(f"{n}\n" for n in range(1, lines + 1))


# Each begins by adding a line to a file of the case's own: as many lines, as many executions.
SCRIPTS = {
    "quick": f"{{mark}}; seq {LINES}",
    "slow": "{mark}; for n in $(seq 10); do seq $((n*20-19)) $((n*20)); sleep 0.2; done",
    "big": f"{{mark}}; seq {MANY // 2}; sleep 0.7; seq {MANY // 2 + 1} {MANY}",
    "fails": f"{{mark}}; seq {LINES}; exit 3",
    "forks": f"{{mark}}; (setsid sleep 60 & nohup sleep 60 & trap '' TERM; sleep 60) & seq {LINES}",
    "stubborn": f"{{mark}}; trap '' TERM INT HUP; seq {LINES}; sleep 60 & sleep 60; sleep 60",
    # Writes less when it is run again.
    "shrinks": (
        f"{{mark}}; [ $(wc -l <{{file}}) -gt 1 ] && echo again || {{{{ seq {LINES}; sleep 4; }}}}"
    ),
}
WHOLE = {
    kind: {"big": numbers(MANY), "shrinks": "again\n"}.get(kind, numbers(LINES)) for kind in SCRIPTS
}
VERDICTS = {"stubborn": "TIMEOUT", "fails": "FAIL"}  # of a case that came to its end; else PASS


@dataclass
class Accepted:
    """A case that was answered 202 or 200."""

    tag: str
    id: str
    kind: str
    rerun: bool
    placed: bool = False
    cancelled: bool = False
    followed: str | None = None

    def expected(self, executions: int) -> str:
        """Return what it writes when it comes to its end."""
        first = self.kind == "shrinks" and executions < 2
        return numbers(LINES) if first else WHOLE[self.kind]


@dataclass
class Ledger:
    """What was promised, and what was wrong with an answer at once.

    :ivar plans: :class:`tests.chaos.plans.Ordered`
    """

    accepted: list[Accepted] = field(default_factory=list)
    unanswered: int = 0
    problems: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    plans: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller(threading.Thread):
    """Asks the APIs for something until it is stopped.

    :param project: whose user it is
    """

    def __init__(self, lab: ChaosLab, seed: int, ledger: Ledger, project: str) -> None:
        super().__init__(name=f"{type(self).__name__}-{seed}", daemon=True)
        self._lab = lab
        self._urls = lab.urls_of(project)
        self._random = random.Random(seed)
        self._seed = seed
        self._ledger = ledger
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop after what is at hand has been answered."""
        self._stopping.set()

    def _ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response | None:
        url = f"{self._random.choice(self._urls)}/{path}"
        try:
            answer = requests.request(method, url, json=body, headers=headers, timeout=45)
        except requests.RequestException:
            return None
        with self._ledger.lock:
            self._ledger.answers[answer.status_code] += 1
        return answer

    def _problem(self, text: str) -> None:
        with self._ledger.lock:
            self._ledger.problems.append(text[:2000])


class Client(Caller):
    """Posts cases until it is stopped; each with a key, sent again until it is answered.

    Some it only posts, some it waits for, follows or cancels.
    """

    def run(self) -> None:
        """Post one case after another."""
        number = 0
        while not self._stopping.wait(self._random.uniform(0.05, 0.6)):
            number += 1
            self._one(f"{self._seed}-{number}")

    def _one(self, tag: str) -> None:
        manner = self._random.choice(["post", "post", "wait", "follow", "cancel"])
        kind = self._random.choice(list(SCRIPTS))
        rerun = kind == "shrinks" or self._random.random() < 0.2
        wait = 20 if manner == "wait" else 0
        placed = self._random.random() < 0.4
        body = self._body(tag, kind, rerun)
        if placed:
            del body["host"]
        answer = self._post(body, tag, wait)
        if answer is None:
            return
        case = Accepted(tag, answer["id"], kind, rerun, placed, cancelled=manner == "cancel")
        with self._ledger.lock:
            self._ledger.accepted.append(case)
        if answer["state"] == "finished":
            self._look_at(case, answer)
        if manner == "follow":
            case.followed = self._follow(case)
        if manner == "cancel":
            time.sleep(self._random.uniform(0, 2))
            self._cancel(case)

    def _body(self, tag: str, kind: str, rerun: bool) -> dict[str, Any]:
        file = f"{self._lab.cases}/{tag}"
        script = SCRIPTS[kind].format(mark=f"echo $LABAPI_ATTEMPT >> {file}", file=file)
        return {
            "plugin": "linux_system",
            "host": self._random.choice(HOSTS),
            "method": "run_shell",
            # Whatever the shell starts has the mark in its environment, and is found by it.
            "parameters": {
                "command": "env",
                "args": [f"LABAPI_CHAOS={self._lab.folder}", "sh", "-c", script],
            },
            "timeout": 3 if kind == "stubborn" else 15,
            "rerun_on_loss": rerun,
        }

    def _post(self, body: dict[str, Any], tag: str, wait: int) -> dict[str, Any] | None:
        """Post a case until somebody answers."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self._ask("POST", f"testcases?wait={wait}", body, {"Idempotency-Key": tag})
            if answer is not None and answer.status_code in (200, 202):
                found: dict[str, Any] = answer.json()
                return found
            if answer is not None and answer.status_code not in (429, 503):
                self._problem(f"POST was answered {answer.status_code} {answer.text}")
                return None
            time.sleep(0.3)
        with self._ledger.lock:
            self._ledger.unanswered += 1
        return None

    def _look_at(self, case: Accepted, answer: dict[str, Any]) -> None:
        """Check that the answer to a client that waits has the output whole."""
        if answer["result"] in ("PASS", "FAIL") and not answer["output_truncated"]:
            known = {case.expected(1), case.expected(2)}
            if answer["output"] not in known:
                self._problem(f"case {case.id} ({case.kind}): ?wait showed {answer['output']!r}")

    def _follow(self, case: Accepted) -> str | None:
        """Read a case's output to its end; return None if that broke off, or says that it does."""
        url = f"{self._random.choice(self._urls)}/testcases/{case.id}/output?follow=true"
        try:
            with requests.get(url, stream=True, timeout=60) as answer:
                whole = b"".join(answer.iter_content(8192)) if answer.status_code == 200 else None
                if answer.status_code not in (200, 503):
                    self._problem(f"following was answered {answer.status_code} {answer.text}")
        except requests.RequestException:
            whole = None
        if whole is not None and b"[this text ends early" in whole:
            whole = None
        with self._ledger.lock:
            self._ledger.streams["broke off" if whole is None else "ended"] += 1
        return None if whole is None else whole.decode(errors="replace")

    def _cancel(self, case: Accepted) -> None:
        answer = self._ask("DELETE", f"testcases/{case.id}")
        if answer is not None and answer.status_code not in (202, 409, 503):
            self._problem(f"DELETE was answered {answer.status_code} {answer.text}")


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
            if found["output_truncated"]:
                whole = requests.get(f"{url}/testcases/{case}/output", timeout=30)
                whole.raise_for_status()
                found["output"] = whole.content.decode(errors="replace")
        except requests.RequestException as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"case {case} cannot be read: {error}") from error
            time.sleep(0.5)
        else:
            return found
    raise AssertionError  # the loop returns or raises

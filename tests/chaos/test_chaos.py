"""Two minutes of chaos; ``make chaos MINUTES=30 SEED=7`` for more.

Every case that was answered 202 reaches ``finished``; each ran at most once, unless it said
``rerun_on_loss``, and then once for each attempt; no process is left; what is missing of an output
is marked.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Any

from tests.chaos.cases import EXPECTED, Accepted, Client, Ledger, executions, fetch
from tests.chaos.faults import Faults
from tests.chaos.lab import ChaosLab
from tests.lab import until

MINUTES = float(os.environ.get("MINUTES", "2"))
SEED = int(os.environ.get("SEED") or time.time())
CLIENTS = 3
SETTLE = 300.0  # seconds that everything may take to finish when nothing breaks any more


def test_chaos() -> None:
    print(f"\nSEED={SEED} MINUTES={MINUTES:g}")
    lab = ChaosLab()
    failed = True
    try:
        lab.start()
        ledger = wreak_havoc(lab)
        problems = settle_and_count(lab, ledger)
        failed = bool(problems)
    finally:
        lab.stop(keep=failed)
        if failed:
            print(f"replay with SEED={SEED}; logs are in {lab.folder}")
    assert not problems


def wreak_havoc(lab: ChaosLab) -> Ledger:
    """Post cases and break things, for as long as asked."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - began:7.1f} s  {text}", flush=True)

    ledger, lock = Ledger(), threading.Lock()
    clients = [Client(lab, SEED * 10 + n, ledger, lock) for n in range(CLIENTS)]
    faults = Faults(lab, SEED, say)
    for thread in (*clients, faults):
        thread.start()
    time.sleep(MINUTES * 60)
    for client in clients:
        client.stop()
    faults.stop()
    for client in clients:
        client.join(200)
        assert not client.is_alive()
    print(f"faults: {dict(faults.counts)}, {sum(faults.counts.values())} in all")
    print(f"accepted: {len(ledger.accepted)}, answers: {ledger.answers}")
    assert ledger.unanswered == 0
    assert not ledger.refused
    return ledger


def settle_and_count(lab: ChaosLab, ledger: Ledger) -> list[str]:
    """Wait until all is finished and say what is not as it should be."""
    cases = {case.tag: fetch(lab.urls, case.id) for case in ledger.accepted}

    def all_finished() -> bool:
        for case in ledger.accepted:
            if cases[case.tag]["state"] != "finished":
                cases[case.tag] = fetch(lab.urls, case.id)
                if cases[case.tag]["state"] != "finished":
                    return False
        return True

    problems = []
    try:
        until(all_finished, SETTLE, "the end of every case")
    except AssertionError as error:
        problems.append(str(error))
    try:
        until(lambda: not lab.remains(), 120, "the end of every process")
    except AssertionError:
        problems.append(f"processes are left: {lab.remains()}")
    finished = sum(case["state"] == "finished" for case in cases.values())
    print(f"finished: {finished} of {len(cases)}")
    print(f"results: {dict(Counter(outcome(case) for case in cases.values()))}")
    for accepted in ledger.accepted:
        problems += judge(lab, accepted, cases[accepted.tag])
    for problem in problems:
        print(f"PROBLEM {problem}")
    return problems


def outcome(case: dict[str, Any]) -> str:
    return f"{case['result']}/{case['reason']}" if case["reason"] else str(case["result"])


def judge(lab: ChaosLab, accepted: Accepted, case: dict[str, Any]) -> list[str]:
    """Return what is wrong with one case."""
    ran = executions(lab.cases, accepted.tag)
    about = f"case {accepted.id} ({accepted.kind}, {outcome(case)})"
    problems = []
    if case["state"] != "finished":
        problems.append(f"{about} is {case['state']}")
    if len(ran) != len(set(ran)):
        problems.append(f"{about}: an attempt ran twice: {ran}")
    if len(ran) > 1 and not accepted.rerun:
        problems.append(f"{about} ran {len(ran)} times")
    if case["result"] in ("PASS", "FAIL", "TIMEOUT"):
        # How far it came before a timeout is a matter of the machine.
        whole = case["output"] == EXPECTED or (
            case["result"] == "TIMEOUT" and EXPECTED.startswith(case["output"])
        )
        if not ran and (case["result"] != "TIMEOUT" or case["output"]):
            problems.append(f"{about} never ran")
        if not whole and "bytes of output are missing here" not in case["output"]:
            problems.append(f"{about}: its output is neither whole nor marked")
    wanted = {"quick": "PASS", "slow": "PASS", "forks": "PASS", "fails": "FAIL"}
    if case["result"] in ("PASS", "FAIL") and case["result"] != wanted.get(accepted.kind):
        problems.append(f"{about}: a wrong verdict, {case['detail']}")
    return problems

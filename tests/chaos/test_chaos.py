"""Two minutes of chaos, of which ``make test`` has one; ``make chaos MINUTES=30 SEED=7`` for more.

Some cases name their host, others go to any that has room; two projects run them and lease hosts.
No host is given more than it has room for, and none that a project has leased is given another's
case or is in two leases; every lease ends, and its keys go. Every case that was answered 202
reaches ``finished``; each ran at most once, unless it said ``rerun_on_loss``, and then once for
each attempt; no process is left. The output of a case that came to its end is, byte for byte, what
it wrote; so is what a client got that waited or followed. What is missing of another output is
marked. Every test plan comes to its end: each entry has run, run again, or been skipped, as the
rules say, and none has had two cases beside one another.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.chaos import leases, moves, plans
from tests.chaos.cases import VERDICTS, Accepted, Caller, Client, Ledger, executions, fetch
from tests.chaos.faults import Faults
from tests.chaos.lab import AHEAD, PROJECTS, SLOTS, ChaosLab
from tests.chaos.leases import Leaser
from tests.chaos.plans import Planner
from tests.lab import until

MINUTES = float(os.environ.get("MINUTES", "2"))
SEED = int(os.environ.get("SEED") or time.time())
CLIENTS = 5
PATIENCE = 300.0  # seconds; the default of [scheduler] patience
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

    ledger = Ledger()
    clients: list[Caller] = [
        Client(lab, SEED * 10 + n, ledger, PROJECTS[n % len(PROJECTS)]) for n in range(CLIENTS)
    ]
    clients += [Leaser(lab, SEED * 10 + n, ledger, of) for n, of in enumerate(PROJECTS, CLIENTS)]
    clients.append(Planner(lab, SEED * 10 + len(clients), ledger, PROJECTS[0]))
    faults = Faults(lab, SEED, say)
    for thread in (*clients, faults):
        thread.start()
    time.sleep(MINUTES * 60)
    for client in clients:
        client.stop()
    faults.stop()
    for client in clients:
        client.join(400)
        assert not client.is_alive()
    print(f"faults: {dict(faults.counts)}, {sum(faults.counts.values())} in all")
    print(f"accepted: {len(ledger.accepted)}, answers: {dict(ledger.answers)}")
    print(f"followers: {dict(ledger.streams)}")
    assert ledger.unanswered == 0
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

    database = plans.opened(lab)
    waits: list[tuple[Callable[[], bool], float, Callable[[], str]]] = [
        (all_finished, SETTLE, lambda: "the end of every case"),
        (lambda: not plans.unfinished(database, ledger.plans), SETTLE, lambda: "the end of plans"),
        (lambda: not lab.remains(), SETTLE, lambda: f"the end of processes: {lab.remains()}"),
        (lambda: leases.all_ended(lab.mariadb), SETTLE, lambda: "the end of every lease"),
        (lambda: not lab.let_in(), SETTLE, lambda: f"the end of keys: {lab.let_in()}"),
    ]
    problems = list(ledger.problems)
    for condition, timeout, what in waits:
        try:
            until(condition, timeout)
        except AssertionError:
            problems.append(f"{what()} did not come within {timeout} s")
    problems += leases.judge(lab.mariadb) + judge_moves(lab)
    problems += plans.judge(lab, database, ledger.plans)
    database.close()
    finished = sum(case["state"] == "finished" for case in cases.values())
    print(f"finished: {finished} of {len(cases)}")
    print(f"without a host: {sum(accepted.placed for accepted in ledger.accepted)}")
    print(f"results: {dict(Counter(outcome(case) for case in cases.values()))}")
    for accepted in ledger.accepted:
        problems += judge(lab, accepted, cases[accepted.tag])
    for problem in problems:
        print(f"PROBLEM {problem}")
    return problems


def judge_moves(lab: ChaosLab) -> list[str]:
    """Return what was given to hosts and should not have been."""
    replay = moves.Replay(SLOTS, AHEAD, PATIENCE)
    replay.play(moves.recorded(lab.mariadb))
    print(f"most cases of a host: {replay.most}; on leased hosts: {replay.within} cases")
    return replay.problems


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
    if case["result"] == "CANCELLED" and not accepted.cancelled:
        problems.append(f"{about} was not cancelled by anybody")
    if case["result"] in ("PASS", "FAIL", "TIMEOUT"):
        problems += [f"{about} {problem}" for problem in judge_end(accepted, case, len(ran))]
    return problems


def judge_end(accepted: Accepted, case: dict[str, Any], ran: int) -> list[str]:
    """Return what is wrong with a case that came to its end, or to its timeout."""
    problems = []
    output, expected = case["output"], accepted.expected(ran)
    if case["result"] == "TIMEOUT":
        # How far it came before a timeout is a matter of the machine.
        marked = "bytes of output are missing here" in output
        if not marked and not expected.startswith(output):
            problems.append(f"has output that is neither a beginning nor marked: {output!r:.400}")
        return problems
    if not ran:
        problems.append("never ran")
    if case["result"] != VERDICTS.get(accepted.kind, "PASS"):
        problems.append(f"has a wrong verdict: {case['detail']}")
    if output != expected:
        problems.append(f"wrote {len(expected)} bytes and shows {len(output)}: {output!r:.400}")
    if accepted.followed not in (None, expected) and ran == 1:
        problems.append(f"was followed for {len(accepted.followed or '')} bytes of {len(expected)}")
    return problems

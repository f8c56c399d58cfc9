"""Process trees end: timeout, cancel, what is left behind; with and without control groups."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labapi.agent.output import OutputBuffer
from labapi.agent.plugins.run import Run, Stop, Stopped, Surroundings
from labapi.agent.processes import cgroup, proc
from labapi.agent.processes.children import CHILDREN
from labapi.agent.processes.limits import Limits

seconds = itertools.count(80_000 + os.getpid() % 10_000 * 100)

MakeRun = Callable[..., Run]


@pytest.fixture
def nap() -> Iterator[str]:
    """Return seconds to sleep that nobody else sleeps; check that no such sleep is left."""
    number = str(next(seconds))
    yield number
    assert not having(number)


def sleeping(number: str) -> list[int]:
    """Return the processes that sleep for so many seconds, not those that are about to."""
    return [pid for pid, words in having(number).items() if words[0] in ("sleep", "/bin/sleep")]


def having(word: str) -> dict[int, list[str]]:
    """Return the command lines of the processes that have a word in theirs, by pid."""
    found = {}
    for process in proc.every():
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if word in words and process.alive:
            found[process.pid] = words
    return found


def wait_for(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Wait until a condition holds, and return its value."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)
    return value


@pytest.fixture(params=["sessions", "cgroup"])
def make_run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeRun]:
    """Return a function that makes a Run; timeout and grace in seconds."""
    CHILDREN.adopt_orphans()
    groups = None
    if request.param == "cgroup":
        groups = cgroup.find("auto", f"test-{uuid.uuid4()}")
        if groups is None:
            pytest.skip("no control group can be made here")
    limits = Limits({"PATH": os.environ["PATH"]})
    runs = []

    def make(timeout: float = 60.0, grace: float = 0.3) -> Run:
        def started(_pid: int, _start: int) -> None:
            run.deadline = time.monotonic() + timeout  # so that there is something to end

        run = Run(
            "case",
            str(uuid.uuid4()),
            timeout,
            surroundings=Surroundings(tmp_path, grace, limits, groups),
            output=OutputBuffer(1_000_000),
            stop=Stop(),
            noted=started,
        )
        runs.append(run)
        return run

    yield make
    for run in runs:
        run.tree.end(0)
        run.tree.close()
        run._stop.close()
    if groups is not None:
        groups.close()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep {n} & sleep {n}", id="background"),
        pytest.param("(sleep {n} &); (sleep {n} & sleep {n} &); sleep {n}", id="double-fork"),
        pytest.param("setsid sleep {n} & nohup sleep {n} & sleep {n}", id="setsid-nohup"),
        pytest.param("trap '' TERM; sleep {n}; sleep {n}", id="term-ignored"),
        pytest.param("(setsid sh -c 'sleep {n} & setsid sleep {n} &' &) ; sleep {n}", id="daemons"),
        pytest.param(
            "(env -i setsid sh -c '/bin/sleep {n} & env -i setsid /bin/sleep {n} &' &); sleep {n}",
            id="without-environment",
        ),
        pytest.param("sleep {n} & kill -STOP $!; kill -STOP $$", id="stopped"),
        pytest.param("exec >/dev/null 2>&1 </dev/null; sleep {n} & sleep {n}", id="no-stdout"),
        pytest.param("echo {n}; while :; do sleep {n} & sleep 0.01; done", id="forking-on"),
    ],
)
def test_timeout_ends_everything(make_run: MakeRun, nap: str, script: str) -> None:
    run = make_run(0.4)
    with pytest.raises(Stopped):
        run.execute(["sh", "-c", script.format(n=nap)])
    assert not having(nap)
    assert run.ended is not None
    assert run.ended.found
    assert not run.ended.left
    assert "nothing is left" in str(run.ended)


def test_a_process_that_hops_from_pid_to_pid_ends(make_run: MakeRun) -> None:
    run = make_run(0.4)
    word = f"hop-{uuid.uuid4()}"
    # Without a control group, one that also makes a session at each hop may get away.
    hop = "os.setsid()" if run.tree._groups is not None else "pass"
    # It ends by itself, should it get away: nothing else would ever end it.
    program = (
        "import os, time\nend = time.monotonic() + 15\n"
        f"while time.monotonic() < end:\n  if os.fork(): os._exit(0)\n  {hop}"
    )
    with pytest.raises(Stopped):
        run.execute(["sh", "-c", f"python3 -c '{program}' {word}; sleep 5"])
    assert run.tree.quiet()
    assert not any(having(word) for _ in range(20))


def test_cancel_ends_everything_at_once(make_run: MakeRun, nap: str) -> None:
    run = make_run()
    threading.Timer(0.2, run._stop.set, ["cancelled"]).start()
    with pytest.raises(Stopped, match="cancelled"):  # long before the sleeps end
        run.execute(["sh", "-c", f"setsid sleep {nap} & sleep {nap}"])


def test_output_up_to_the_end_is_kept(make_run: MakeRun, nap: str) -> None:
    run = make_run(grace=60)
    script = f"trap 'echo last words; exit' TERM; echo first; sleep {nap} & wait"

    def cancel() -> None:
        wait_for(lambda: sleeping(nap))  # what is about to start it may miss a signal
        run._stop.set("cancelled")

    threading.Thread(target=cancel).start()
    with pytest.raises(Stopped):
        run.execute(["sh", "-c", script])
    assert run._output.take() == (0, b"first\nlast words\n")


def test_a_background_process_that_holds_stdout_holds_up_nothing(
    make_run: MakeRun, nap: str
) -> None:
    run = make_run()
    outcome = run.execute(["sh", "-c", f"sleep {nap} & echo done"], capture=100)
    assert (outcome.result, outcome.captured) == ("PASS", b"done\n")
    wait_for(lambda: sleeping(nap))  # it runs on until the method returns
    assert not run.tree.quiet()
    ended = run.tree.end(0.3)
    assert [name.split()[0] for name in ended.found.values()] == ["sleep"]


def test_what_leaves_nothing_is_known_to_at_once(make_run: MakeRun) -> None:
    run = make_run()
    run.execute(["true"])
    assert run.tree.quiet()


def test_the_end_of_one_attempt_spares_another(make_run: MakeRun, nap: str) -> None:
    one, other = make_run(), make_run()
    for run in (one, other):
        run.execute(["sh", "-c", f"setsid sh -c 'exec sleep {nap}' >/dev/null 2>&1 &"])
    wait_for(lambda: len(sleeping(nap)) == 2)
    one.tree.end(0.3)
    assert len(sleeping(nap)) == 1
    assert other.tree.end(0.3).found


def test_an_orphan_of_unknown_origin_goes_with_the_last_that_may_have_started_it(
    tmp_path: Path, nap: str
) -> None:
    CHILDREN.adopt_orphans()
    surroundings = Surroundings(tmp_path, 0.3, Limits({"PATH": os.environ["PATH"]}))
    one, other = (
        Run(
            "case",
            str(uuid.uuid4()),
            10,
            surroundings=surroundings,
            output=OutputBuffer(100),
            stop=Stop(),
            noted=lambda pid, start: None,
        )
        for _ in range(2)
    )
    one.execute(["sh", "-c", f"env -i setsid /bin/sleep {nap} >/dev/null 2>&1 &"])
    wait_for(lambda: sleeping(nap))
    one.tree.end(0.3)
    one.tree.close()
    assert sleeping(nap)  # it could be the other's
    assert other.tree.end(0.3).found
    other.tree.close()
    one._stop.close()
    other._stop.close()


def test_what_is_left_of_nobody_is_swept_away(make_run: MakeRun, nap: str) -> None:
    run = make_run()
    run.execute(["sh", "-c", f"setsid sleep {nap} >/dev/null 2>&1 &"])
    wait_for(lambda: sleeping(nap))
    CHILDREN.end(run.tree)
    assert [process.name for process in CHILDREN.sweep()] == ["sleep"]
    wait_for(lambda: not sleeping(nap))
    CHILDREN.begin(run.tree)


def test_children_of_other_code_are_left_alone(make_run: MakeRun, nap: str) -> None:
    time.sleep(0.05)  # attempts and processes are told apart by times of 10 ms
    before = subprocess.Popen(["sleep", nap], start_new_session=True)
    time.sleep(0.05)
    run = make_run()
    run.execute(["sh", "-c", "setsid true &"])
    run.tree.end(0)
    CHILDREN.sweep()
    beside = [subprocess.Popen(["sh", "-c", "exit 7"]) for _ in range(20)]
    run.tree.end(0)
    CHILDREN.sweep()
    assert [child.wait() for child in beside] == [7] * 20
    assert before.poll() is None
    before.kill()
    before.wait()


def test_ended_orphans_do_not_stay_as_zombies(make_run: MakeRun) -> None:
    before = zombies()  # of other tests, which adopt orphans since this file has run
    run = make_run()
    run.execute(["sh", "-c", "for i in 1 2 3 4 5; do (setsid true &); done; (true &); sleep 0.1"])
    run.tree.end(0)

    def reaped() -> bool:
        CHILDREN.sweep()
        return not zombies() - before

    wait_for(reaped)


def test_nor_do_those_that_began_while_no_attempt_ran(make_run: MakeRun) -> None:
    run = make_run()
    CHILDREN.end(run.tree)
    time.sleep(0.05)  # attempts and processes are told apart by times of 10 ms
    before = zombies()
    subprocess.run(["sh", "-c", "(setsid true &)"], check=True)
    wait_for(lambda: zombies() - before)
    for _ in range(2):
        CHILDREN.sweep()
    assert not zombies() - before
    CHILDREN.begin(run.tree)


def zombies() -> set[int]:
    """Return the children of this process that have ended and that nobody has waited for."""
    mine = map(proc.read, proc.children(os.getpid()))
    return {process.pid for process in mine if process is not None and process.state == "Z"}


def test_a_pid_that_was_used_again_is_not_signalled() -> None:
    from labapi.agent.processes.children import send

    child = subprocess.Popen(["sleep", "600"])
    now = proc.read(child.pid)
    assert now is not None
    earlier = proc.Process(now.pid, now.parent, now.session, now.start - 1, "S", "sleep")
    assert send(earlier, 9)
    assert child.poll() is None
    assert send(now, 9)
    assert child.wait(60) == -9

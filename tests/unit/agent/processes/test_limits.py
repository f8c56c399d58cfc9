"""What the agent's configuration allows."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from labapi.agent.manager import Agent
from labapi.agent.processes import limits
from labapi.exceptions import ConfigError, InvalidInput
from tests.unit.agent.conftest import Conductor, case

Start = Callable[..., Agent]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("make", True),
        ("makefile", False),
        ("pytest-3", True),
        ("/opt/tests/run", True),
        ("/opt/tests/deep/run", True),
        ("/opt/tests/../../bin/sh", False),
        ("/opt/tests", False),
        ("tests/run", False),
        ("./make", False),
        ("/usr/bin/make", False),
        ("opt/tests/run", False),
        ("sh", False),
        ("", False),
        ("make\0", False),
    ],
)
def test_programs_are_allowed_by_pattern(program: str, allowed: bool) -> None:
    bounds = limits.Limits({}, programs=("make", "pytest-*", "/opt/tests/*"))
    if allowed:
        bounds.permit(program)
        return
    with pytest.raises(InvalidInput, match="not among the programs that this host allows"):
        bounds.permit(program)


def test_run_shell_and_build_keep_to_the_list(start: Start, conductor: Conductor) -> None:
    start(plugins=["linux_system", "build_server"], run_shell_allow=["echo"])
    commands = [
        case(command="echo", args="x"),
        case(command="cat", args="/etc/passwd"),
        case("build", plugin="build_server", source="/etc", command="sh"),
    ]
    conductor.send(*commands)
    outcomes = [(conductor.result(c).result, conductor.result(c).reason) for c in commands]
    assert outcomes == [("PASS", None), ("ERROR", "rejected"), ("ERROR", "rejected")]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that other users can reach; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="labapi-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@root_only
def test_cases_run_as_another_user(start: Start, conductor: Conductor, place: Path) -> None:
    start(run_as="nobody", work_dir=str(place))
    entry = pwd.getpwnam("nobody")
    commands = [
        case(command="id", args="-u"),
        case(command="id", args="-G"),
        case(command="sh", args=["-c", "touch file && stat -c %a:%U . && echo $HOME $USER"]),
        case(command="ls", args=str(place)),
        case(command="kill", args=["-0", str(os.getpid())]),
    ]
    conductor.send(*commands)
    uid, groups, folder, listing, kill = [conductor.result(c) for c in commands]
    assert uid.output.decode().strip() == str(entry.pw_uid)
    assert groups.output.decode().split() == [str(entry.pw_gid)]
    assert folder.output.decode().split() == ["700:nobody", entry.pw_dir, "nobody"]
    assert listing.result == "FAIL"
    assert kill.result == "FAIL"
    place_mode = stat.S_IMODE((place / "agent-bench-1").stat().st_mode)
    assert place_mode == 0o711


@root_only
def test_a_user_that_cannot_reach_its_folder_is_a_mistake(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="run_as"):
        start(run_as="nobody", work_dir=str(tmp_path / "work"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"run_as": "no-such-user"}, "no user 'no-such-user'"),
        ({"environment": ["A B=1"]}, "neither NAME nor NAME=value"),
        ({"environment": ["=x"]}, "neither NAME nor NAME=value"),
        ({"process_limit": 5, "run_as": "root"}, "limits nothing for root"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    start: Start, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        start(**options)


def test_memory_is_limited(start: Start, conductor: Conductor) -> None:
    start(memory_limit=200)
    commands = [
        case(command="python3", args=["-c", f"x = bytearray({size} * 1024 * 1024)"])
        for size in (20, 400)
    ]
    missing, named = case(command="no-such-program"), case(command="/no/such/program")
    conductor.send(*commands, missing, named)
    small, large = [conductor.result(c) for c in commands]
    assert small.result == "PASS"
    assert large.result == "FAIL"
    assert b"MemoryError" in large.output
    assert conductor.result(missing).reason == "cannot_start"
    assert conductor.result(named).reason == "cannot_start"


@root_only
def test_processes_are_limited(start: Start, conductor: Conductor, place: Path) -> None:
    start(run_as="nobody", process_limit=30, work_dir=str(place))
    command = case(
        command="sh", args=["-c", "for i in $(seq 60); do sleep 600 & done; wait"], timeout=60
    )
    conductor.send(command)
    result = conductor.result(command)
    assert result.result == "FAIL"
    assert b"fork" in conductor.output(command)


def test_processes_are_less_urgent(start: Start, conductor: Conductor) -> None:
    start(nice=7)
    own = os.nice(0)
    # A process has the agent's own urgency for the moment in which it starts.
    script = f"while test $(nice) = {own}; do sleep 0.02; done; nice"
    command = case(command="sh", args=["-c", script])
    conductor.send(command)
    assert conductor.result(command).output.decode().strip() == str(min(19, own + 7))


def test_the_folder_for_work_can_be_elsewhere(
    start: Start, conductor: Conductor, tmp_path: Path
) -> None:
    start(work_dir=str(tmp_path / "elsewhere"))
    command = case(command="pwd")
    conductor.send(command)
    where = conductor.result(command).output.decode().strip()
    assert where == str(tmp_path / "elsewhere" / "agent-bench-1" / command.attempt)


def test_a_link_in_the_place_of_the_work_folder_is_refused(start: Start, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "agent-bench-1").symlink_to(victim)
    with pytest.raises(ConfigError, match="symbolic link"):
        start(work_dir=str(tmp_path / "elsewhere"))
    assert (victim / "file").exists()


def test_ping_without_either_program_is_the_labs_error(
    start: Callable[..., Agent], conductor: Conductor
) -> None:
    start(environment=["PATH=/nonexistent"])
    command = replace(case("ping"), parameters={"host": "127.0.0.1"})
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.reason) == ("ERROR", "cannot_start")
    assert "fping" in (result.detail or "")


@pytest.mark.parametrize("allowed", [False, True])
def test_programs_gain_no_rights_unless_that_is_wanted(
    start: Start, conductor: Conductor, allowed: bool
) -> None:
    start(new_privileges=allowed)
    command = case(command="sh", args=["-c", "grep NoNewPrivs /proc/self/status"])
    conductor.send(command)
    assert conductor.result(command).output.split() == [b"NoNewPrivs:", b"%d" % (not allowed)]
    assert "NoNewPrivs:\t0" in Path("/proc/thread-self/status").read_text()


@root_only
@pytest.mark.parametrize("allowed", [False, True])
def test_a_setuid_program_is_no_way_out_of_run_as(
    start: Start, conductor: Conductor, allowed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = Path(folder, "whoami")
        shutil.copy("/usr/bin/id", program)
        program.chmod(0o4755)
        start(run_as="nobody", new_privileges=allowed, work_dir=folder)
        command = case(command=str(program), args=["-un"])
        conductor.send(command)
        expected = b"root\n" if allowed else b"nobody\n"
        assert conductor.result(command).output == expected

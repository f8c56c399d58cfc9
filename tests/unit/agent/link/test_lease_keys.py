from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from labapi.agent.link import lease_keys
from labapi.agent.link.lease_keys import HEADER, KeysFile
from labapi.exceptions import ConfigError
from labapi.rpc.messages import LeaseKeys


def key(kind: str = "ssh-ed25519", filling: bytes = b"k") -> str:
    name = kind.encode()
    inside = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + filling * 32
    return f"{kind} {base64.b64encode(inside).decode()}"


class Place:
    """The folders of an agent, and what a conductor tells it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.state = folder / "keys" / "lab", folder / "state"
        self.path.parent.mkdir(mode=0o755)
        self.state.mkdir(mode=0o700)

    def start(self) -> KeysFile:
        return KeysFile(self.path, self.state)

    def lines(self) -> list[str]:
        text = self.path.read_text()
        assert text.startswith(HEADER)
        return text.removeprefix(HEADER).splitlines()


def tell(file: KeysFile, **values: Any) -> None:
    blank = {"host": "h", "agent": "a", "nonce": file.held().nonce}
    file.told(LeaseKeys(**{**blank, **values}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The steady clock, as a list of the one time that it shows."""
    now = [1000.0]
    monkeypatch.setattr(lease_keys, "_steady", lambda: now[0])
    return now


def test_keys_are_in_for_the_time_of_a_lease(place: Place, clock: list[float]) -> None:
    file = place.start()
    assert place.lines() == []
    tell(file, lease="l1", keys=[f"{key()} alice@home", key(filling=b"x")], seconds=60.0)
    first, second = place.lines()
    found = re.fullmatch(r'expiry-time="(\d{14})" (.+) lease-l1', first)
    assert found is not None
    ends = time.mktime(time.strptime(found[1], "%Y%m%d%H%M%S"))
    assert 50 < ends - time.time() < 61
    assert (found[2], key(filling=b"x") in second) == (key(), True)
    assert place.path.stat().st_mode & 0o777 == 0o644
    clock[0] += 59
    assert (file.held().lease, file.held().seconds, len(place.lines())) == ("l1", 1.0, 2)
    clock[0] += 1
    assert (file.held().lease, place.lines()) == ("", [])


def test_they_are_out_when_a_conductor_says_so(place: Place, clock: list[float]) -> None:
    file = place.start()
    tell(file, lease="l1", keys=[key()], seconds=60.0)
    tell(file)
    assert (file.held().lease, place.lines()) == ("", [])


def test_an_answer_counts_once(place: Place, clock: list[float]) -> None:
    file = place.start()
    nonce = file.held().nonce
    tell(file, lease="l1", keys=[key()], seconds=60.0)
    tell(file)
    tell(file, nonce=nonce, lease="l1", keys=[key()], seconds=60.0)
    tell(file, nonce="", lease="l1", keys=[key()], seconds=60.0)
    assert place.lines() == []


def test_an_answer_that_was_kept_back_does_not_count(place: Place, clock: list[float]) -> None:
    file = place.start()
    nonce = file.held().nonce
    clock[0] += 59
    assert file.held().nonce == nonce
    clock[0] += 2
    tell(file, nonce=nonce, lease="l1", keys=[key()], seconds=60.0)
    assert place.lines() == []
    assert file.held().nonce != nonce
    tell(file, nonce=nonce, lease="l1", keys=[key()], seconds=60.0)
    assert place.lines() == []
    tell(file, lease="l2", keys=[key()], seconds=60.0)
    assert len(place.lines()) == 1


@pytest.mark.parametrize(
    "bad",
    [
        f'command="id" {key()}',
        f"{key()}\n{key(filling=b'x')}",
        f"{key()} c\nssh-rsa AAAA",
        "ssh-ed25519 AAAA",
        key().replace("ssh-ed25519", "ssh-rsa"),
        key("ssh-dss"),
        "# nothing",
        "",
    ],
)
def test_what_is_no_key_is_not_put_in(place: Place, clock: list[float], bad: str) -> None:
    file = place.start()
    tell(file, lease="l1", keys=[key(), bad], seconds=60.0)
    assert (file.held().lease, place.lines()) == ("", [])


def test_an_agent_that_died_knows_them_and_asks_what_is_right(
    place: Place, clock: list[float]
) -> None:
    tell(place.start(), lease="l1", keys=[key()], seconds=60.0)
    again = place.start()
    assert (again.held().lease, again.held().seconds, len(place.lines())) == ("l1", 0.0, 1)
    clock[0] += 60
    assert (again.held().lease, place.lines()) == ("", [])


def test_one_that_died_before_the_end_takes_them_out_at_its_start(
    place: Place, clock: list[float]
) -> None:
    tell(place.start(), lease="l1", keys=[key()], seconds=60.0)
    clock[0] += 61
    assert (place.start().held().lease, place.lines()) == ("", [])


@pytest.mark.parametrize(
    "state", ["", "{}", "[]", json.dumps({"lease": "l1", "until": 9e9, "boot": "x"})]
)
def test_after_a_boot_or_without_its_memory_they_are_out(
    place: Place, clock: list[float], state: str
) -> None:
    tell(place.start(), lease="l1", keys=[key()], seconds=60.0)
    (place.state / lease_keys.STATE).write_text(state)
    assert (place.start().held().lease, place.lines()) == ("", [])


def test_if_they_cannot_be_written_it_is_tried_again(
    place: Place, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    file = place.start()
    draft = place.path.with_name(".lab.new")
    draft.mkdir()
    tell(file, lease="l1", keys=[key()], seconds=60.0)
    assert (file.held().lease, place.lines()) == ("", [])
    assert "cannot be written" in caplog.text
    draft.rmdir()
    tell(file, lease="l1", keys=[key()], seconds=60.0)
    assert (file.held().lease, len(place.lines())) == ("l1", 1)


def test_only_a_file_of_its_own_is_taken(place: Place) -> None:
    place.path.write_text("ssh-ed25519 AAAA me@home\n")
    with pytest.raises(ConfigError, match="holds something else"):
        place.start()
    place.path.unlink()
    place.path.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="is no file"):
        place.start()
    place.path.unlink()
    place.path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write into"):
        place.start()
    with pytest.raises(ConfigError, match="no absolute path"):
        KeysFile(Path("keys"), place.state)
    with pytest.raises(ConfigError, match="No such file"):
        KeysFile(place.path.parent / "none" / "keys", place.state)

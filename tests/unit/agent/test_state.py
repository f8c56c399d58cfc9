"""The agent's folder and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from labapi.agent.state import StateFolder
from labapi.exceptions import ConfigError
from labapi.rpc.transport import HOST_NAME, agent_queue, control_queue

LONGEST = "b" * 200


def test_a_name_that_the_conductor_takes_is_taken(tmp_path: Path) -> None:
    assert HOST_NAME.fullmatch(LONGEST)
    StateFolder(str(tmp_path), LONGEST).close()
    # AMQP's names of queues have 255 bytes at most.
    assert max(len(queue(LONGEST).name) for queue in (agent_queue, control_queue)) <= 255


@pytest.mark.parametrize("name", [LONGEST + "b", "", "-b", "a b", "a/b", "a#b", "ä", "a\n"])
def test_a_name_that_the_conductor_would_drop_is_refused_at_start(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=r"\[agent\] host: .* expected at most 200 letters"):
        StateFolder(str(tmp_path), name)
    assert not list(tmp_path.iterdir())

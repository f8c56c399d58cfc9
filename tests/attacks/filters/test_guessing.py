"""Clients that guess passwords, and those that they would hold up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt

from tests.attacks.filters.conftest import SHIPPED, Serve

CLIENTS, GUESSES = 8, 5


def test_eight_clients_that_guess_hold_up_nobody(serve: Serve, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(12)).decode()
    (tmp_path / "htpasswd").write_text(f"alice:{hashed}\n")
    text = SHIPPED.replace("\n    noauth\n", "\n    basic\n")
    text = text.replace("/etc/labapi/htpasswd\n", f"{tmp_path}/htpasswd\n")
    assert "failures_per_address = 10 per minute\n" in text
    # A minute may be over before a slow machine has answered all of them.
    api = serve(text.replace("10 per minute", "10 per hour"))
    assert api.ask("/v2.1/slaves", login="alice:wonderland").status == 200

    def answer(login: str) -> int:
        # A machine that is too slow to check a password in time says so, and it can be sent again.
        while (status := api.ask("/v2.1/slaves", login=login).status) == 503:
            pass
        return status

    def guess(client: int) -> list[int]:
        return [answer(f"user{client}:{number}") for number in range(GUESSES)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        guessed = [pool.submit(guess, client) for client in range(CLIENTS)]
        served = 0
        while not all(each.done() for each in guessed):
            assert api.ask("/v2.1/slaves", login="alice:wonderland").status == 200
            served += 1
    answers = sorted(status for each in guessed for status in each.result(60))
    assert answers == [401] * 10 + [429] * (CLIENTS * GUESSES - 10)
    assert served
    refused = api.ask("/v2.1/slaves", login="alice:guess")
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    lines = api.program.output()
    assert "denied: more wrong passwords of this address than 10 per hour" in lines

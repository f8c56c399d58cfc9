"""A plan that runs, ends, and tells of it: from the POST to the webhook and the mail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab import HOST, Lab, ask
from tests.processes import until
from tests.receivers import Hook, MailServer, answer


def plan(hook: Hook) -> dict[str, Any]:
    def entry(script: str) -> dict[str, Any]:
        parameters = {"command": "sh", "args": ["-c", script]}
        what = {"plugin": "linux_system", "host": HOST, "method": "run_shell"}
        return {**what, "parameters": parameters}

    return {
        "name": "two stations",
        "environment": {"mail": {"receiver": "lab@example.org"}},
        "notify": [{"webhook": hook.url, "secret": "s3cret"}],
        "testplan": {
            "1": {"Parallel-Step-1": {"1": entry("echo fine"), "2": entry("echo no; exit 1")}},
            "2": {"Serial-Step-1": {"1": entry("true")}},
        },
    }


def test_a_plan_tells_of_its_end(tmp_path: Path) -> None:
    with MailServer() as server, Hook() as hook:
        hook.behaviours = [answer(503)]
        lab = Lab(
            tmp_path,
            notify__smtp_host="127.0.0.1",
            notify__smtp_port=server.port,
            notify__smtp_security="none",
            notify__allowed_networks=["127.0.0.0/8"],
            notify__retry_interval=0.2,
        ).start()
        try:
            made = ask(lab.app, "/testplans", plan(hook))
            assert made.status_code == 202, made.text
            path = f"/testplans/{made.json['id']}"

            def told() -> Any:
                shown = ask(lab.app, path)
                assert "s3cret" not in shown.text
                states = {notice["state"] for notice in shown.json["notices"]}
                return shown.json if states == {"sent"} else None

            shown = until(told)
            report = ask(lab.app, f"{path}/report.txt").text
        finally:
            lab.stop()
    assert (shown["state"], shown["result"]) == ("finished", "FAIL")
    assert {("mail" in notice, notice["tries"]) for notice in shown["notices"]} == {
        (True, 1),
        (False, 2),
    }
    (mail,) = server.taken
    assert mail["Subject"] == "[labapi] FAIL: two stations"
    assert mail["To"] == "lab@example.org"
    text = mail.get_body(("plain",))
    assert text is not None
    assert text.get_content().split() == report.split()
    first, second = (json.loads(body) for *_, body in hook.taken)
    assert first == second
    assert (first["id"], first["result"]) == (shown["id"], "FAIL")
    assert first["counts"] == shown["counts"]

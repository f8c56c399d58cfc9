"""What the pages say of telling people, done as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from labapi import config
from labapi.conductor.notices import Notices
from labapi.conductor.webhook import Webhooks
from labapi.db import notices
from labapi.db.session import Database
from tests import plans
from tests.lab import ROOT
from tests.plans import NOW, after, entry, step
from tests.receivers import Hook, Issuer, MailServer


def block(page: str, section: str, kind: str) -> str:
    text = re.split(r"^## ", (ROOT / "docs" / page).read_text(), flags=re.M)
    (found,) = (part for part in text if part.startswith(f"{section}\n"))
    (code,) = re.findall(rf"^```{kind}\n(.*?)^```", found, re.S | re.M)
    return str(code)


def test_a_receiver_checks_the_signature() -> None:
    known: dict[str, Any] = {}
    exec(block("plans.md", "Telling people", "python"), known)
    is_genuine = known["is_genuine"]
    with Hook() as hook:
        conf = config.new(notify__allowed_networks=["127.0.0.0/8"])
        Webhooks(conf.notify).post(hook.url, b'{"result": "PASS"}', "s3cret", {})
    ((_, headers, body),) = hook.taken
    assert is_genuine(headers, body, "s3cret")
    assert not is_genuine(headers, body, "another")
    assert not is_genuine(headers, body + b" ", "s3cret")
    later = {**headers, "X-Labapi-Timestamp": str(int(headers["X-Labapi-Timestamp"]) + 1)}
    assert not is_genuine(later, body, "s3cret")
    old = {**headers, "X-Labapi-Timestamp": "1"}
    assert not is_genuine(old, body, "s3cret")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_configuration_sends_mails(database: Database, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    secured = MailServer(tls_context=issuer.server("localhost"), password=True)
    file = tmp_path / "labapi.conf"
    text = block("operate.md", "Telling of the ends of plans", "ini")
    for theirs, ours in (
        ("lab-mail.example.org\n", f"localhost\nsmtp_port = {secured.port}\n"),
        ("/etc/labapi/ca.pem", str(issuer.file)),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    file.write_text(text)
    conf = config.load(["--config-file", str(file)], prog="labapi", description="")
    plan = plans.add(database, {"1": [step("Serial-Step-1", entry())]})
    told = [{"mail": "lab@example.org"}, {"webhook": "http://127.0.0.1:9/"}]
    database.write(notices.add, notices.of_plan(plan.id, told, NOW))
    with secured:
        assert Notices(conf, database).send_due(after(1)) == 2
    assert secured.taken[0]["From"] == "labapi@example.org"
    assert secured.logins == [b"secret"]
    mail, webhook = database.read(notices.list_of, plan.id)
    assert mail.sent_at
    assert "forbidden (loopback)" in webhook.error

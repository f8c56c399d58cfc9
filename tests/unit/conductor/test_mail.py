from __future__ import annotations

import socket
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from labapi import config
from labapi.conductor.destinations import NotSent
from labapi.conductor.mail import Mailer
from labapi.exceptions import ConfigError
from labapi.plans.plain import line
from labapi.plans.report import Item, Report, Section
from labapi.plans.summary import Summary
from labapi.plans.tally import KINDS, Tally
from tests.processes import free_port
from tests.receivers import Issuer, MailServer

TO, KEY = "lab@example.org", "1.plan"


def mailer(port: int = 0, **options: Any) -> Mailer:
    given = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port or None,
        "smtp_security": "none",
        "mail_from": "labapi@lab.example",
        "timeout": 30.0,
        **options,
    }
    return Mailer(config.new(**{f"notify__{k}": v for k, v in given.items()}).notify)


def report(name: str = "two stations", log: str = "what it wrote\n") -> Report:
    tally = Tally({**dict.fromkeys(KINDS, 0), "FAIL": 1})
    item = Item(
        *("1", "STA1 reaches STA2", "linux_system.ping", "lab-1", "finished", "FAIL", None, "lost"),
        *(1, 1, False, (), "case", 1.0, log, False),
    )
    blank = dict.fromkeys(Summary.__struct_fields__)
    plan = Summary(**blank | {"id": "plan", "name": name, "state": "finished", "result": "FAIL"})
    return Report(plan, tally, [Section("1/Serial-Step-1", "", tally, [item])])


def parts(message: EmailMessage) -> dict[str, str]:
    return {
        f"{part.get_content_type()}{part.get_filename() or ''}": "\n".join(
            part.get_content().splitlines()
        )
        for part in message.walk()
        if not part.is_multipart()
    }


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def test_a_mail_has_text_page_and_log() -> None:
    with MailServer() as server:
        mailer(server.port).send(TO, report(), KEY)
    (mail,) = server.taken
    assert (mail["To"], mail["From"]) == (TO, "labapi@lab.example")
    assert mail["Subject"] == "[labapi] FAIL: two stations"
    assert mail["Message-ID"] == "<1.plan@lab.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    found = parts(mail)
    assert list(found) == ["text/plain", "text/html", "text/plainplan.log"]
    assert "STA1 reaches STA2" in found["text/plain"]
    assert "<td" in found["text/html"]
    assert "STA1 reaches STA2" in found["text/html"]
    assert found["text/plainplan.log"].endswith("what it wrote")


def test_starttls_is_checked_and_a_password_goes_over_it(issuer: Issuer) -> None:
    with MailServer(tls_context=issuer.server("127.0.0.1"), password=True) as server:
        given = {"smtp_security": "starttls", "smtp_user": "labapi", "smtp_password": "s3cret"}
        mailer(server.port, ca_file=str(issuer.file), **given).send(TO, report(), KEY)
        with pytest.raises(NotSent, match="certificate verify failed") as caught:
            mailer(server.port, **given).send(TO, report(), KEY)
    assert not caught.value.final
    assert len(server.taken) == 1
    assert server.logins == [b"s3cret"]


def test_tls_is_checked(issuer: Issuer) -> None:
    with MailServer(ssl_context=issuer.server("127.0.0.1")) as server:
        trusting = mailer(server.port, smtp_security="tls", ca_file=str(issuer.file))
        trusting.send(TO, report(), KEY)
        with pytest.raises(NotSent, match="certificate verify failed"):
            mailer(server.port, smtp_security="tls").send(TO, report(), KEY)
    assert len(server.taken) == 1


def test_a_certificate_of_another_name(issuer: Issuer) -> None:
    with MailServer(tls_context=issuer.server("mail.example.org")) as server:
        wants = mailer(server.port, smtp_security="starttls", ca_file=str(issuer.file))
        with pytest.raises(NotSent, match="certificate"):
            wants.send(TO, report(), KEY)
    assert not server.taken


def test_it_never_falls_back_to_plain_text() -> None:
    with MailServer() as server, pytest.raises(NotSent, match="STARTTLS"):
        mailer(server.port, smtp_security="starttls").send(TO, report(), KEY)
    assert not server.taken


@pytest.mark.parametrize(
    "name",
    [
        "x\r\nBcc: victim@example.org",
        "x\nContent-Type: text/html\n\n<script>",
        "\u2028x\x0b\x0c\x85Bcc: victim@example.org",
        "=?utf-8?q?=0ABcc:_victim?=",
        "\u6e2c\u8a66" * 200,
    ],
)
def test_a_name_begins_no_header_of_its_own(name: str) -> None:
    with MailServer() as server:
        mailer(server.port).send(TO, report(line(name)), KEY)
    (mail,) = server.taken
    assert "Bcc" not in mail
    assert mail.get_content_type() == "multipart/mixed"
    assert mail["To"] == TO
    assert set(mail.keys()) == {
        *("To", "From", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("MIME-Version", "Content-Type"),
    }


@pytest.mark.parametrize(
    "receiver", ["", "nobody", "a@b\r\nRCPT TO:<c@d>", "a@b, c@d", "Lab <a@b>", "a b@c"]
)
def test_a_receiver_that_is_none(receiver: str) -> None:
    with MailServer() as server, pytest.raises(NotSent, match="no mail address") as caught:
        mailer(server.port).send(receiver, report(), KEY)
    assert caught.value.final
    assert not server.taken


@pytest.mark.parametrize(
    ("answer", "final"), [("554 no such thing", True), ("451 come back later", False)]
)
def test_what_the_server_says_decides(answer: str, final: bool) -> None:
    with MailServer() as server:
        server.answers = [answer]
        with pytest.raises(NotSent, match=answer) as caught:
            mailer(server.port).send(TO, report(), KEY)
    assert caught.value.final is final


def test_without_a_server_it_is_given_up() -> None:
    with pytest.raises(NotSent, match=r"\[notify\] smtp_host") as caught:
        mailer(smtp_host=None).send(TO, report(), KEY)
    assert caught.value.final


def test_a_server_that_is_away() -> None:
    with pytest.raises(NotSent, match="Connection refused") as caught:
        mailer(free_port()).send(TO, report(), KEY)
    assert not caught.value.final


def test_a_server_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(NotSent, match="timed out"):
            mailer(silent.getsockname()[1], timeout=0.5).send(TO, report(), KEY)
        assert time.monotonic() - began < 20


def test_without_a_server_the_sender_need_be_no_address() -> None:
    mailer(smtp_host=None, mail_from="labapi@")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mail_from": "nobody"}, "mail_from"),
        ({"smtp_user": "labapi"}, "smtp_user"),
        ({"ca_file": "/nowhere"}, "ca_file"),
    ],
)
def test_a_configuration_that_cannot_work(options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[notify\] {says}"):
        mailer(25, **options)

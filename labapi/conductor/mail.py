"""Mails about the ends of test plans: a text, the same as a page, and the log attached."""

from __future__ import annotations

import smtplib
import socket
import time
from contextlib import suppress
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from labapi import tls
from labapi.conductor.deadline import shut_at
from labapi.conductor.destinations import NotSent
from labapi.exceptions import ConfigError
from labapi.plans import report_html, report_text
from labapi.plans.plain import line
from labapi.plans.report import Report

PORTS = {"starttls": 587, "tls": 465, "none": 25}
MAX_SUBJECT = 150  # characters of a plan's name
WAITS = 4  # timeouts that a mail may take in all, once the server is reached
SHOWN = 200  # characters of a server's answer


class Mailer:
    """Sends mails through one server.

    :param options: the group ``[notify]``
    :raises ConfigError: an option cannot be used
    """

    def __init__(self, options: Any) -> None:
        self._host: str | None = options.smtp_host
        self._security: str = options.smtp_security
        self._port: int = options.smtp_port or PORTS[self._security]
        self._user: str | None = options.smtp_user
        self._password: str = options.smtp_password or ""
        self._timeout: float = options.timeout
        self._context = tls.files("notify", options).context()
        self._from = options.mail_from
        # Where no mail is sent, the name of this machine need not make an address.
        if self._host and _address(self._from) is None:
            raise ConfigError(f"[notify] mail_from: {self._from!r} is no mail address")
        if self._user and self._security == "none":
            raise ConfigError("[notify] smtp_user: smtp_security = none would show its password")

    def send(self, receiver: str, report: Report, key: str) -> None:
        """Send a report, once.

        :param report: can be read more than once
        :param key: the same at each try, so that a receiver knows a mail that comes twice
        :raises NotSent: the server did not take it
        """
        if not self._host:
            raise NotSent("no mail server is configured ([notify] smtp_host)", final=True)
        message = self.message(receiver, report, key)
        try:
            self._deliver(self._host, message, receiver)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, text),) = error.recipients.values()
            raise NotSent(
                f"{receiver} was refused: {_said(code, text)}", final=code >= 500
            ) from None
        except smtplib.SMTPDataError as error:
            said = _said(error.smtp_code, error.smtp_error)
            raise NotSent(f"the mail was refused: {said}", final=error.smtp_code >= 500) from None
        except smtplib.SMTPResponseException as error:
            said = _said(error.smtp_code, error.smtp_error)
            raise NotSent(f"the mail server answered {said}") from None
        except (OSError, smtplib.SMTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            where = f"{self._host}:{self._port}"
            raise NotSent(f"the mail server {where}: {line(str(why))[:SHOWN]}") from None

    def message(self, receiver: str, report: Report, key: str) -> EmailMessage:
        """Return the mail.

        :raises NotSent: the receiver is no address
        """
        to = _address(receiver)
        if to is None:
            raise NotSent(f"{line(receiver)[:SHOWN]!r} is no mail address", final=True)
        message = EmailMessage()
        message["To"], message["From"] = to, _address(self._from)
        # The name is one line, and no encoded word: decoded, that may hold another one.
        name = report.plan.name[:MAX_SUBJECT].replace("=?", "= ?")
        message["Subject"] = f"[labapi] {report.verdict}: {name}"
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = f"<{key}@{self._from.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("".join(report_text.text(report)))
        message.add_alternative("".join(report_html.html(report)), subtype="html")
        log = "".join(report_text.log(report))
        message.add_attachment(log, filename=f"{report.plan.id}.log")
        return message

    def _deliver(self, host: str, message: EmailMessage, receiver: str) -> None:
        until = time.monotonic() + WAITS * self._timeout
        server = self._server(host)
        try:
            with shut_at(until, lambda: server.sock):
                if self._security == "starttls":
                    server.starttls(context=self._context)
                if self._user:
                    server.login(self._user, self._password)
                server.send_message(message, from_addr=self._from, to_addrs=[receiver])
                # The mail has been taken: what goes wrong with a goodbye is no reason to repeat it.
                with suppress(OSError, smtplib.SMTPException):
                    server.quit()
        finally:
            server.close()

    def _server(self, host: str) -> smtplib.SMTP:
        """Return a connection to the server."""
        about: dict[str, Any] = {"timeout": self._timeout, "local_hostname": socket.gethostname()}
        if self._security == "tls":
            return smtplib.SMTP_SSL(host, self._port, context=self._context, **about)
        return smtplib.SMTP(host, self._port, **about)


def _address(text: str) -> Address | None:
    """Return a mail address, None for a text that is none."""
    try:
        return Address(addr_spec=text)
    except (ValueError, IndexError, MessageError):
        return None


def _said(code: int, text: Any) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"{code} {line(words)[:SHOWN]}".rstrip()

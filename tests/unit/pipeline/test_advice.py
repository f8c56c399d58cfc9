"""What works and is probably a mistake gets a warning, and keeps nothing from starting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.pipeline.shipped import edited, findings, said

V = "[pipeline:v2.1]: pipeline: warning: "
KEYSTONE = ("\n    noauth\n", "\n    keystone\n")
ADVICE = {
    "a comment behind a value": (
        [("allow =\n", "deny_message = Go home # or ask us\n")],
        "[filter:ip_whitelist]: deny_message: warning: what looks like a comment is a part"
        " of the value",
    ),
    "quotation marks around a value": (
        [KEYSTONE, ("password = secret", "password = 'secret'")],
        "[filter:keystone]: password: warning: the quotation marks are a part of the value; take",
    ),
    "a section that only looks like [DEFAULT]": (
        [("[composite:main]", "[DEFAULTS]\nheader = Forwarded\n[composite:main]")],
        "[DEFAULTS]: warning: line ",
    ),
    "a prefix twice": (
        [("/v2.1 = v2.1", "/v2.1 = v2.1\n/v2.1/ = root")],
        "[composite:main]: /v2.1/: warning: this is the same prefix as /v2.1",
    ),
    "a limit that is counted twice": (
        [("/v2.1 = v2.1", "/v2.1 = v2.1\n/lab = v2.1")],
        "[filter:ratelimit]: storage: warning: this counts anew in each of the 2 places",
    ),
    "a method that nobody knows": (
        [("rule_all = * *", "rule_all = GTE /a")],
        "[filter:ratelimit]: rule_all: warning: GTE is not a method of HTTP; did you mean GET?",
    ),
    "no rules": (
        [("rule_all = * *: 6000 per minute per address", "")],
        "[filter:ratelimit]: warning: there is no rule_<name>, so nothing is limited",
    ),
    "several workers without a folder": (
        [("\n    faultwrap\n", "\n    metrics\n    faultwrap\n")],
        "[filter:metrics]: multiprocess_dir: warning: labapi-api has 2 workers",
    ),
    "a decision that is delayed": (
        [KEYSTONE, ("delay_auth_decision = false", "delay_auth_decision = true")],
        "[filter:keystone]: delay_auth_decision: warning: with this, a Keystone that is away",
    ),
    "no faultwrap": (
        [("\n    faultwrap\n", "\n")],
        V + "there is no 'faultwrap' to the left of 'api': errors leave as they are",
    ),
    "faultwrap last": (
        [("\n    faultwrap\n", "\n"), ("\n    api\n", "\n    faultwrap\n    api\n")],
        V + "what 'proxy' answers passes no 'faultwrap'; move it to the left of that",
    ),
    "no sizelimit": (
        [("\n    sizelimit\n", "\n")],
        V + "there is no 'sizelimit' to the left of 'api': bodies of any size are read",
    ),
    "request_id late": (
        [("\n    request_id\n", "\n"), ("\n    proxy\n", "\n    request_id\n    proxy\n")],
        V + "'access_log' to its left knows no request id; move 'request_id' to the left of it",
    ),
    "audit left of proxy": (
        [("\n    proxy\n", "\n    audit\n    proxy\n")],
        V + "'audit' records the address of a proxy; move it to the right of 'proxy'",
    ),
    "audit in a file that depends on the folder": (
        [("\n    proxy\n", "\n    proxy\n    audit\n"), ("#audit\n", "#audit\nfile = audit.log\n")],
        "[filter:audit]: file: warning: audit.log is written in the folder where the server is",
    ),
    "cors right of the authentication": (
        [("\n    noauth\n", "\n    noauth\n    cors\n")],
        V + "a browser's preflight request has no identity; move 'cors' to the left",
    ),
    "a set option that the filter does not have": (
        [("storage = memory://", "set stratgy = fixed-window")],
        "[filter:ratelimit]: set stratgy: warning: there is no such option; did you mean"
        " 'strategy'?",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice(tmp_path: Path, name: str) -> None:
    changes, expected = ADVICE[name]
    text = edited(*changes)
    server = {"workers": "2"}
    (found,) = said(text, tmp_path, server)
    assert found.startswith(expected)
    assert not any(finding.fatal for finding in findings(text, tmp_path, server))


def test_the_password_file(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.touch(0o600)
    text = edited(
        ("\n    noauth\n", "\n    basic\n"),
        ("/etc/labapi/htpasswd", f"{passwords}\nuser_alcie = admin"),
    )
    section = "[filter:basic]: "
    assert said(text, tmp_path) == [
        f"{section}user_alcie: warning: {passwords} has no user 'alcie'"
    ]
    passwords.chmod(0o644)
    (readable, _) = said(text, tmp_path)
    assert readable.startswith(f"{section}htpasswd_file: warning: everybody on this machine can")
    passwords.chmod(0o600)
    without = text.replace("\n    ratelimit\n", "\n")
    assert len(said(without, tmp_path)) == 1
    without = re.sub("^failures_per_address = .*$", "failures_per_address =", without, flags=re.M)
    assert f"{V}nobody counts guessed passwords; put 'ratelimit' to the left of 'basic'" in said(
        without, tmp_path
    )


def test_what_is_mounted_without_an_api_needs_no_guard(tmp_path: Path) -> None:
    assert said(edited(("request_id access_log faultwrap versions", "versions")), tmp_path) == []


def test_a_filter_that_is_not_there_may_be_the_one_that_is_missing(tmp_path: Path) -> None:
    (found,) = said(edited(("\n    sizelimit\n", "\n    sizelimt\n")), tmp_path)
    assert "there is no section [filter:sizelimt]" in found

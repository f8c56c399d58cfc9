"""Forged, altered, expired: what a verifier lets through, and what it says of the rest."""

from __future__ import annotations

import base64
import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from labapi.exceptions import ConfigError
from labapi.rpc import signing
from labapi.rpc.messages import CancelCase, encode
from labapi.rpc.signing import EXPIRES, ISSUED, KEY, SIGNATURE, Signer, Verifier

BODY = encode(CancelCase(case="c", attempt="a", host="lab-1"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.create_key(tmp_path / "key", tmp_path / "key.pub")
    return tmp_path / "key"


@pytest.fixture
def signer(key: Path) -> Signer:
    found = signing.signer(str(key))
    assert found is not None
    return found


@pytest.fixture
def verifier(key: Path) -> Verifier:
    return Verifier(signing.trusted([f"{key}.pub"]))


def test_a_signed_command_is_accepted(signer: Signer, verifier: Verifier) -> None:
    assert verifier.accepts(BODY, signer.headers(BODY, None))


@pytest.mark.parametrize(
    "change",
    [
        {SIGNATURE: None},
        {SIGNATURE: ""},
        {SIGNATURE: "not base64"},
        {SIGNATURE: base64.b64encode(bytes(64)).decode()},
        {SIGNATURE: 7},
        {SIGNATURE: b"bytes"},
        {KEY: "0" * 16},
        {KEY: ["list"]},
        {ISSUED: "1.000"},
        {EXPIRES: "99999999999.000"},
        {EXPIRES: "inf"},
        {EXPIRES: "1e9"},
        {EXPIRES: "1.000\n"},
        {EXPIRES: "\u0661.000"},
    ],
    ids=str,
)
def test_altered_headers_are_refused(
    signer: Signer, verifier: Verifier, change: dict[str, Any]
) -> None:
    assert not verifier.accepts(BODY, {**signer.headers(BODY, None), **change})


def test_an_unsigned_command_is_refused(verifier: Verifier) -> None:
    assert not verifier.accepts(BODY, {})


def test_every_altered_byte_is_noticed(signer: Signer, verifier: Verifier) -> None:
    headers = signer.headers(BODY, None)
    for place in range(len(BODY)):
        altered = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        assert not verifier.accepts(altered, headers)
    assert not verifier.accepts(BODY + b" ", headers)


def test_lines_cannot_move_between_headers_and_body(signer: Signer, verifier: Verifier) -> None:
    headers = signer.headers(BODY, None)
    moved = {**headers, EXPIRES: ""}
    assert not verifier.accepts(headers[EXPIRES].encode() + b"\n" + BODY, moved)


def test_the_key_of_somebody_else(tmp_path: Path, verifier: Verifier) -> None:
    signing.create_key(tmp_path / "other", tmp_path / "other.pub")
    other = signing.signer(str(tmp_path / "other"))
    assert other is not None
    assert not verifier.accepts(BODY, other.headers(BODY, None))


def test_two_keys_while_one_replaces_the_other(tmp_path: Path, key: Path, signer: Signer) -> None:
    signing.create_key(tmp_path / "new", tmp_path / "new.pub")
    new = signing.signer(str(tmp_path / "new"))
    assert new is not None
    both = Verifier(signing.trusted([f"{key}.pub", str(tmp_path / "new.pub")]))
    assert both.accepts(BODY, signer.headers(BODY, None))
    assert both.accepts(BODY, new.headers(BODY, None))


def test_expiry_allows_for_conductors_that_differ(key: Path, signer: Signer) -> None:
    headers = signer.headers(BODY, 30)
    asked: list[float] = []

    def expired(moment: float) -> bool:
        asked.append(moment)
        return len(asked) > 1

    verifier = Verifier(signing.trusted([f"{key}.pub"]), expired)
    assert verifier.accepts(BODY, headers)
    assert not verifier.accepts(BODY, headers)
    assert asked[0] == pytest.approx(float(headers[ISSUED]) + 30 + signing.TOLERANCE, abs=0.01)


def test_the_time_is_not_asked_for_what_is_forged(key: Path, signer: Signer) -> None:
    verifier = Verifier(signing.trusted([f"{key}.pub"]), lambda moment: moment < 1 / 0)
    assert not verifier.accepts(BODY + b" ", signer.headers(BODY, 30))


def test_one_line_for_each_cause(
    signer: Signer, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        verifier.accepts(b"secret of the attacker", {})
        verifier.accepts(b"secret of the attacker", signer.headers(BODY, None))
    assert [record.message for record in caplog.records] == [
        "commands refused: not signed (1 so far)",
        "commands refused: the signature is wrong (1 so far)",
    ]


def test_a_private_key_is_for_its_owner(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others can use .*; run: chmod 600"):
        signing.signer(str(key))


def test_a_key_is_never_written_over(key: Path, tmp_path: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="is there already, and no key is written over"):
        signing.create_key(key, tmp_path / "other.pub")
    assert key.read_bytes() == before


def test_a_key_is_one_line_that_says_what_it_is(key: Path) -> None:
    for file, kind in ((key, "private"), (Path(f"{key}.pub"), "public")):
        [line] = file.read_text().splitlines()
        words, text = line.rsplit(" ", 1)
        assert words == f"labapi-ed25519-{kind}"
        assert len(base64.b64decode(text, validate=True)) == 32


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"labapi-ed25519-private \n",
        b"labapi-ed25519-public " + base64.b64encode(bytes(31)),
        b"labapi-ed25519-private " + base64.b64encode(bytes(33)),
        b"labapi-ed25519-public " + b"\xff" * 43 + b"=",
        b"labapi-rsa-public " + base64.b64encode(bytes(32)),
        base64.b64encode(bytes(32)),
    ],
)
def test_files_that_hold_no_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no private key"):
        signing.signer(str(file))
    with pytest.raises(ConfigError, match="holds no public key"):
        signing.trusted([str(file)])


def test_a_key_of_another_program(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=r"no private key of .* key create \(it is in PEM form\)"):
        signing.signer(str(file))
    with pytest.raises(ConfigError, match=r"no public key of .* key create \(it is in PEM form\)"):
        signing.trusted([str(file)])


def test_a_signature_is_that_of_the_standard(tmp_path: Path) -> None:
    # RFC 8032, 7.1: the first test's seed and its public key
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    for name, data in (("private", seed), ("public", public)):
        line = f"labapi-ed25519-{name} {base64.b64encode(data).decode()}\n"
        (tmp_path / name).write_text(line)
    (tmp_path / "private").chmod(0o600)
    signer = signing.signer(str(tmp_path / "private"))
    assert signer is not None
    headers = signer.headers(BODY, None)
    assert headers[KEY] == hashlib.sha256(public).hexdigest()[:16]
    assert Verifier(signing.trusted([str(tmp_path / "public")])).accepts(BODY, headers)


def test_the_two_keys_are_not_mixed_up(key: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[agent\] trusted_keys: .* holds no public key"):
        signing.trusted([str(key)])
    Path(f"{key}.pub").chmod(0o600)
    with pytest.raises(ConfigError, match=r"\[conductor\] signing_key: .* holds no private key"):
        signing.signer(f"{key}.pub")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"signing_key: .*nowhere: No such file"):
        signing.signer(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"trusted_keys: .*nowhere: No such file"):
        signing.trusted([str(tmp_path / "nowhere")])
    assert signing.signer(None) is None

"""The plugins that are shipped, against real programs, servers and archives."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from labapi.agent.manager import Agent
from labapi.agent.plugins.build_server import source
from labapi.agent.plugins.linux_system import ping
from labapi.rpc.messages import CaseResult
from labapi.rpc.transport import Transport
from tests.processes import until
from tests.unit.agent.conftest import Conductor, case, install_shipped, new_conf

Do = Callable[..., CaseResult]


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Do]:
    """Return a function that runs a method of a plugin and returns its result."""
    folder = tmp_path_factory.mktemp("plugins")
    install_shipped(folder / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        conf = new_conf(folder, host="bench-2", plugins=["linux_system", "build_server", "http"])
        conductor = Conductor(Transport(conf))
        agent = Agent(conf, Transport(conf))
        agent.start()
        # The broker drops what no queue is there for.
        until(lambda: agent._cases.consumes and agent._control.consumes)

    def run(plugin: str, method: str, /, **parameters: Any) -> CaseResult:
        command = replace(case(method, plugin=plugin, host="bench-2"), parameters=parameters)
        conductor.send(command)
        return conductor.result(command)

    yield run
    agent.stop(5)
    conductor.close()


# linux_system


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("-l 'a b' c\\ d", ["-l", "a b", "c d"]),
        ("$HOME `id` ; | > x *", ["$HOME", "`id`", ";", "|", ">", "x", "*"]),
        (["a b", "", "$x"], ["a b", "", "$x"]),
        ("", []),
        ("# no comment", ["#", "no", "comment"]),
    ],
)
def test_arguments_are_words_and_no_shell_reads_them(do: Do, args: Any, words: list[str]) -> None:
    program = ["-c", "import json,sys; print(json.dumps(sys.argv[1:]))"]
    if isinstance(args, str):
        quoted = '-c "import json,sys; print(json.dumps(sys.argv[1:]))" '
        result = do("linux_system", "run_shell", command="python3", args=quoted + args)
    else:
        result = do("linux_system", "run_shell", command="python3", args=program + args)
    assert json.loads(result.output) == words


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("ls | wc", """{"command": "sh", "args": ["-c", "ls | wc"]}"""),
        ('echo "hello"', r"""{"command": "sh", "args": ["-c", "echo \"hello\""]}"""),
        ("no-such-program", None),
    ],
)
def test_what_a_shell_should_have_read_gets_a_hint(do: Do, command: str, hint: str | None) -> None:
    result = do("linux_system", "run_shell", command=command)
    assert (result.result, result.reason) == ("ERROR", "cannot_start")
    assert result.detail is not None
    told = "in args, or run a shell: "
    assert (told in result.detail) == (hint is not None)
    if hint:
        assert result.detail.endswith(told + hint)
        shell = json.loads(hint)
        assert do("linux_system", "run_shell", **shell).result == "PASS"


@pytest.mark.skipif(not (shutil.which("ping") or shutil.which("fping")), reason="no ping here")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_ping_counts_the_answers(do: Do, host: str) -> None:
    result = do("linux_system", "ping", host=host, count=2)
    if host == "::1" and result.result != "PASS":
        pytest.skip("no IPv6 here")
    assert result.result == "PASS"
    assert (result.data["sent"], result.data["received"]) == (2, 2)
    assert 0 < result.data["min_ms"] <= result.data["avg_ms"] <= result.data["max_ms"]


@pytest.mark.skipif(not (shutil.which("ping") or shutil.which("fping")), reason="no ping here")
def test_ping_fails_without_an_answer(do: Do) -> None:
    result = do("linux_system", "ping", host="no-such-host.invalid", count=1)
    assert (result.result, result.reason) == ("FAIL", None)
    assert "no-such-host.invalid" in (result.detail or "")


@pytest.mark.parametrize(
    "host", ["-f", "--help", "a b", "a;b", "$(id)", "-", "a/b", "x\n-f", "é", ".", "a..b"]
)
def test_ping_takes_no_options_for_hosts(do: Do, host: str) -> None:
    result = do("linux_system", "ping", host=host)
    assert (result.result, result.reason) == ("ERROR", "rejected")


def test_reports_of_ping_are_read() -> None:
    fping = ping._read_fping("10.0.0.1 : 0.50 - 1.50 -\n")
    assert fping == {"sent": 4, "received": 2, "min_ms": 0.5, "avg_ms": 1.0, "max_ms": 1.5}
    assert ping._read_fping("10.0.0.1 : - -\n") == {"sent": 2, "received": 0}
    assert ping._read_fping("nonsense: Name or service not known\n") is None
    iputils = (
        "3 packets transmitted, 2 received, 33% packet loss, time 401ms\n"
        "rtt min/avg/max/mdev = 0.022/0.034/0.047/0.012 ms\n"
    )
    busybox = (
        "3 packets transmitted, 2 packets received, 33% packet loss\n"
        "round-trip min/avg/max = 0.022/0.034/0.047 ms\n"
    )
    expected = {"sent": 3, "received": 2, "min_ms": 0.022, "avg_ms": 0.034, "max_ms": 0.047}
    assert ping._read_ping(iputils) == ping._read_ping(busybox) == expected


def test_system_information_describes_this_machine(do: Do) -> None:
    data = do("linux_system", "system_information").data
    assert data["kernel"] == os.uname().release
    assert data["memory"]["total_mib"] > 0
    assert data["cpu"]["threads"] >= 1
    assert "127.0.0.1" in data["addresses"]["lo"]
    assert data["uptime_s"] > 0


# build_server


def tree(folder: Path, script: str = "echo built in $(basename $PWD)") -> Path:
    folder.mkdir(parents=True)
    (folder / "make.sh").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "make.sh").chmod(0o755)
    return folder


def archive(folder: Path, kind: str) -> Path:
    tree(folder / "project-1")
    return Path(shutil.make_archive(str(folder / "archive"), kind, folder, "project-1"))


@pytest.mark.parametrize("kind", ["tar", "gztar", "bztar", "xztar", "zip"])
def test_an_archive_is_unpacked_and_built(do: Do, tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path / "a", kind)
    result = do("build_server", "build", source=str(path), command="sh", args="make.sh")
    assert (result.result, result.output) == ("PASS", b"built in project-1\n")
    url = path.as_uri()
    result = do("build_server", "build", source=url, command="sh", args=["make.sh"])
    assert result.result == "PASS"


def test_a_folder_is_copied_and_built(do: Do, tmp_path: Path) -> None:
    folder = tree(tmp_path / "src", "touch made; ls")
    result = do("build_server", "build", source=str(folder), command="./make.sh")
    assert (result.result, result.output) == ("PASS", b"made\nmake.sh\n")
    assert not (folder / "made").exists()


def test_a_build_that_fails_is_a_fail(do: Do, tmp_path: Path) -> None:
    folder = tree(tmp_path / "src", "exit 2")
    result = do("build_server", "build", source=str(folder), command="./make.sh")
    assert (result.result, result.exit_code) == ("FAIL", 2)


def test_a_git_repository_is_fetched_and_built(do: Do, tmp_path: Path) -> None:
    folder = tree(tmp_path / "project.git")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        [*identity, "commit", "-q", "-m", "one"],
        ["tag", "v1"],
        ["rm", "-q", "make.sh"],
        [*identity, "commit", "-q", "-m", "two"],
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "v1"], check=True, capture_output=True, text=True
    ).stdout.strip()
    for url, ref in ((str(folder), "v1"), (f"git+{folder.as_uri()}", commit)):
        result = do("build_server", "build", source=url, ref=ref, command="./make.sh")
        assert (result.result, result.output) == ("PASS", b"built in source\n")
    head = do("build_server", "build", source=str(folder), command="./make.sh")
    assert (head.result, head.reason) == ("ERROR", "cannot_start")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"source": "/no/such/folder"}, "cannot_fetch"),
        ({"source": "relative/path"}, "cannot_fetch"),
        ({"source": "ftp://example.org/a.tar"}, "cannot_fetch"),
        ({"source": "http://127.0.0.1:1/a.tar"}, "cannot_fetch"),
        ({"source": "/etc/passwd"}, "cannot_fetch"),
        ({"source": "/no/such/repository.git"}, "cannot_fetch"),
        ({"source": "ext::sh -c id.git"}, "rejected"),
        ({"source": "git+ext::sh -c id"}, "rejected"),
        ({"source": "git+--upload-pack=id"}, "rejected"),
        ({"source": "-x.git"}, "rejected"),
        ({"source": "/x.git", "ref": "--upload-pack=id"}, "rejected"),
        ({"source": "/x.git", "ref": "a..b"}, "rejected"),
        ({"source": "/x.git", "ref": "a:b"}, "rejected"),
        ({"source": "/x.tar", "ref": "v1"}, "rejected"),
    ],
)
def test_a_source_that_cannot_be_had_is_the_labs_error(
    do: Do, parameters: dict[str, Any], reason: str
) -> None:
    result = do("build_server", "build", command="true", **parameters)
    assert (result.result, result.reason) == ("ERROR", reason)
    assert result.detail


def bad_tar(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as packed:
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    return target.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../escaped"),
        member("x/../../escaped"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "../../etc"),
        member("link", tarfile.LNKTYPE, "../../../etc/passwd"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_nothing_of_a_tar_lands_outside(tmp_path: Path, info: tarfile.TarInfo) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(bad_tar(info, b"x" if info.isreg() else b""))
    with pytest.raises(source.Refused):
        source.main(str(path), tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def test_absolute_names_and_rights_of_a_tar_are_tamed(tmp_path: Path) -> None:
    info = member("/absolute")
    info.mode = 0o6777
    (tmp_path / "a.tar").write_bytes(bad_tar(info, b"x"))
    source.main(str(tmp_path / "a.tar"), tmp_path / "out")
    mode = (tmp_path / "out" / "absolute").stat().st_mode
    assert stat.S_IMODE(mode) == 0o755


def test_nothing_of_a_zip_lands_outside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr("/absolute", "x")
        packed.writestr("../escaped", "x")
    with pytest.raises(source.Refused, match=r"'\.\./escaped' leads outside"):
        source.main(str(tmp_path / "bad.zip"), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["absolute"]
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(("limit", "value"), [("MAX_UNPACKED", 1000), ("MAX_ENTRIES", 3)])
@pytest.mark.parametrize("kind", ["zip", "gztar", "folder"])
def test_what_is_too_large_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, kind: str
) -> None:
    content = tmp_path / "content" / "files"
    content.mkdir(parents=True)
    for number in range(5):
        (content / str(number)).write_bytes(bytes(1000))
    path = tmp_path / "content"
    if kind != "folder":
        path = Path(shutil.make_archive(str(tmp_path / "bomb"), kind, tmp_path / "content"))
    monkeypatch.setattr(source, limit, value)
    with pytest.raises(source.Refused, match=r"more than|larger than"):
        source.main(str(path), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# http


class Handler(BaseHTTPRequestHandler):
    """A server with the habits that a test wants to see."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path
        if path.startswith("/redirect/"):
            left = int(path.rsplit("/", 1)[1])
            self.answer(302, b"", Location=f"/redirect/{left - 1}" if left else "/ok")
        elif path == "/leave":
            self.answer(302, b"", Location="file:///etc/passwd")
        elif path == "/slow":
            time.sleep(2)
            self.answer(200, b"late")
        elif path == "/large":
            self.answer(200, bytes(11 * 1024 * 1024))
        elif path == "/binary":
            self.answer(200, bytes(range(256)))
        elif path == "/headers":
            self.answer(200, json.dumps(dict(self.headers)).encode())
        else:
            self.answer(200 if path == "/ok" else 404, b"all is well")

    def do_POST(self) -> None:
        self.answer(201, self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are part of the tests."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "parameters", "outcome", "detail"),
    [
        ("/ok", {}, "PASS", None),
        ("/ok", {"status": 200, "contains": "is well"}, "PASS", None),
        ("/ok", {"status": [201, 202]}, "FAIL", "the status is 200, not 201 or 202"),
        ("/ok", {"contains": "is not"}, "FAIL", "the body does not contain the text"),
        ("/none", {}, "FAIL", "the status is 404, not 200 to 299"),
        ("/none", {"status": 404}, "PASS", None),
        ("/redirect/3", {}, "PASS", None),
        ("/redirect/3", {"redirects": 0, "status": 302}, "PASS", None),
        ("/redirect/9", {}, "FAIL", "Exceeded 5 redirects"),
        ("/leave", {}, "ERROR", "No connection adapters"),
        ("/slow", {"timeout": 0.3}, "FAIL", "timed out"),
        ("/large", {}, "FAIL", "larger than"),
    ],
)
def test_get_compares_the_answer(
    do: Do, url: str, path: str, parameters: dict[str, Any], outcome: str, detail: str | None
) -> None:
    result = do("http", "get", url=url + path, **parameters)
    assert result.result == outcome
    assert (detail or "") in (result.detail or "")


def test_get_returns_what_came(do: Do, url: str) -> None:
    result = do("http", "get", url=f"{url}/binary")
    assert (result.data["status"], result.data["size"]) == (200, 256)
    assert result.data["headers"]["Content-Length"] == "256"
    assert result.data["body"].startswith("\0\1\2")
    assert result.data["elapsed_ms"] > 0
    assert b"200" in result.output


@pytest.mark.parametrize(
    ("parameters", "body"),
    [({"body": "é"}, "é"), ({"json": {"a": [1]}}, '{"a": [1]}'), ({}, "")],
)
def test_post_sends_a_body(do: Do, url: str, parameters: dict[str, Any], body: str) -> None:
    result = do("http", "post", url=url, status=201, **parameters)
    assert (result.result, result.data["body"]) == ("PASS", body)


def test_headers_are_sent_and_passwords_of_the_agent_are_not(
    do: Do, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    result = do("http", "get", url=f"{url}/headers", headers={"X-One": "1"})
    sent = json.loads(result.data["body"])
    assert sent["X-One"] == "1"
    assert "Authorization" not in sent


@pytest.mark.parametrize(
    "parameters",
    [
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": "http://x", "headers": {"A": "b\r\nC: d"}},
        {"url": "http://x", "headers": {"A\nB": "c"}},
        {"url": "http://x", "headers": {"A:": "c"}},
        {"url": "http://x", "status": 20},
        {"url": "http://x", "timeout": 0},
        {"url": "http://x", "redirects": 100},
        {"url": "http://x", "body": "a", "json": 1},
    ],
)
def test_requests_that_cannot_be_made_are_rejected(do: Do, parameters: dict[str, Any]) -> None:
    result = do("http", "post", **parameters)
    assert (result.result, result.reason) == ("ERROR", "rejected")


def test_a_server_that_is_away_fails_the_test(do: Do) -> None:
    result = do("http", "get", url="http://127.0.0.1:1/")
    assert (result.result, result.reason) == ("FAIL", None)

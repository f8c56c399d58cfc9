"""Requests to a lab that does not answer as one would like."""

from __future__ import annotations

import base64
import gzip
import socket
import threading
import time
from collections.abc import Mapping

import pytest

import labapi_client
from labapi_client import exceptions, transport
from labapi_client.configuration import Way
from labapi_client.exchange import Exchange
from labapi_client.identity import basic, token
from labapi_client.lab import Lab
from labapi_client.transport import Transport
from tests.client.alone.scripted import Say, Scripted, fault
from tests.processes import free_port, until

EMPTY = Say(200, {"limits": {"rate": []}})
CASE = {
    **{"id": "1", "plugin": "p", "method": "m", "timeout": 1, "state": "queued"},
    "created_at": "2026-01-01T00:00:00Z",
}


class Renewable:
    """An identity that can be renewed, as one of Keystone can."""

    def __init__(self) -> None:
        self.number = 1

    def headers(self) -> Mapping[str, str]:
        return {"X-Auth-Token": f"secret-{self.number}"}

    def renew(self) -> bool:
        self.number += 1
        return True


def identified(url: str, identity: object) -> Lab:
    return Lab(Transport(Way(lambda: f"{url}/v2.1", identity), timeout=10.0))


@pytest.mark.parametrize("first", [fault(503, "serviceUnavailable"), fault(502), Say(broken=True)])
def test_what_is_safe_is_sent_again(first: Say) -> None:
    with Scripted(first, EMPTY) as server, labapi_client.connect(server.url) as lab:
        assert list(lab.limits.list()) == []
        assert [asked.method for asked in server.asked] == ["GET", "GET"]


@pytest.mark.parametrize("first", [fault(503, "serviceUnavailable"), Say(broken=True)])
def test_a_post_is_sent_again_under_the_same_key(first: Say) -> None:
    with Scripted(first, Say(202, CASE)) as server, labapi_client.connect(server.url) as lab:
        assert lab.testcases.create("p", "m").id == "1"
        one, two = server.asked
    assert one.body == two.body == b'{"plugin":"p","method":"m"}'
    assert one.headers["Idempotency-Key"] == two.headers["Idempotency-Key"]


def test_a_lease_is_asked_for_again_under_the_same_key() -> None:
    made = Say(201, {"id": "1", "state": "active"})
    with Scripted(Say(broken=True), made) as server, labapi_client.connect(server.url) as lab:
        assert lab.leases.create(["lab-1"], seconds=60).id == "1"
        one, two = server.asked
    assert one.body == two.body == b'{"hosts":["lab-1"],"seconds":60}'
    assert one.headers["Idempotency-Key"] == two.headers["Idempotency-Key"]


@pytest.mark.parametrize("first", [fault(503, "serviceUnavailable"), Say(broken=True)])
def test_what_changes_something_is_sent_once(first: Say) -> None:
    with Scripted(first, Say(202, CASE)) as server, labapi_client.connect(server.url) as lab:
        with pytest.raises((exceptions.Unavailable, exceptions.ConnectionFailed)):
            lab.testcases.cancel("1")
        assert len(server.asked) == 1


def test_too_many_requests_are_sent_again_when_the_lab_says() -> None:
    refused = fault(429, "overLimit", Retry_After="1")
    with Scripted(refused, Say(202, CASE)) as server, labapi_client.connect(server.url) as lab:
        begun = time.monotonic()
        assert lab.testcases.cancel("1").id == "1"
        assert time.monotonic() - begun >= 1


def test_a_lab_that_wants_to_be_left_alone_for_long_has_its_will() -> None:
    refused = fault(429, "overLimit", "slower", Retry_After="3600")
    with Scripted(refused) as server, labapi_client.connect(server.url) as lab:
        with pytest.raises(exceptions.OverLimit) as caught:
            lab.limits.list().__next__()
        assert len(server.asked) == 1
    assert (caught.value.retry_after, caught.value.request_id) == (3600, "req-1")
    assert str(caught.value) == "slower (req-1)"


@pytest.mark.parametrize(
    "when",
    ["9" * 5000, "Fri, 01 Jan 9999999 00:00:00 GMT", f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"],
)
def test_a_time_that_never_comes_is_none(when: str) -> None:
    with Scripted(fault(429, "overLimit", Retry_After=when), EMPTY) as server:
        assert list(labapi_client.connect(server.url).limits.list()) == []


def test_links_that_are_none() -> None:
    moved = Say(301, headers={"Location": "http://["})
    with Scripted(moved) as server, pytest.raises(exceptions.BadAnswer, match="has moved;"):
        list(labapi_client.connect(server.url).limits.list())
    page = Say(200, {"testcases": []}, headers={"Link": '<http://[>; rel="next"'})
    with Scripted(page) as server, pytest.raises(exceptions.BadAnswer, match="next page"):
        list(labapi_client.connect(server.url).testcases.list())


def test_nothing_is_unpacked() -> None:
    packed = gzip.compress(b" " * 10**6 + b"{}")
    answer = Say(200, packed, headers={"Content-Encoding": "gzip"})
    with Scripted(answer) as server, labapi_client.connect(server.url) as lab:
        assert lab.request("GET", "/limits").body == packed
        with lab.stream("/limits") as stream:
            assert b"".join(stream) == packed


def test_it_gives_up_after_a_while() -> None:
    with Scripted(fault(503, "serviceUnavailable")) as server:
        with labapi_client.connect(server.url) as lab, pytest.raises(exceptions.Unavailable):
            list(lab.limits.list())
        assert len(server.asked) == 4


def test_a_401_authenticates_once_more() -> None:
    with Scripted(fault(401, "unauthorized"), EMPTY) as server:
        list(identified(server.url, Renewable()).limits.list())
        tokens = [asked.headers["X-Auth-Token"] for asked in server.asked]
    assert tokens == ["secret-1", "secret-2"]


@pytest.mark.parametrize("identity", [Renewable(), basic("u", "secret"), token("secret")])
def test_it_authenticates_once_more_and_no_oftener(identity: object) -> None:
    with Scripted(fault(401, "unauthorized", "who is it?")) as server:
        with pytest.raises(exceptions.Unauthorized) as caught:
            list(identified(server.url, identity).limits.list())
        assert len(server.asked) == (2 if isinstance(identity, Renewable) else 1)
    assert "secret" not in f"{caught.value!r} {identity!r}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with Scripted(EMPTY) as other:
        moved = Say(
            status, "", {"Location": f"http://u:secret@127.0.0.1:{other.port}/v2.1?k=secret"}
        )
        with Scripted(moved) as server:
            lab = labapi_client.connect(server.url, username="u", password="secret")
            with pytest.raises(exceptions.BadAnswer, match=f"moved to {other.url}/v2.1;") as caught:
                list(lab.limits.list())
        assert not other.asked
    assert "secret" not in str(caught.value)


def test_a_page_leads_to_no_other_place() -> None:
    with Scripted(EMPTY) as other:
        link = {"Link": f'<{other.url}/v2.1/testcases?marker=7&limit=1>; rel="next"'}
        pages = Say(200, {"testcases": [CASE]}, link), Say(200, {"testcases": [CASE]})
        with Scripted(*pages) as server, labapi_client.connect(server.url) as lab:
            assert len(list(lab.testcases.list(limit=1))) == 2
            assert server.asked[1].path == "/v2.1/testcases?marker=7&limit=1"
        assert not other.asked


def test_a_page_that_leads_to_itself() -> None:
    link = {"Link": '<x?marker=7>; rel="next"'}
    pages = Scripted(Say(200, {"testcases": []}, link))
    with pages as server, pytest.raises(exceptions.BadAnswer, match="leads to itself"):
        list(labapi_client.connect(server.url).testcases.list())


def test_pages_that_lead_in_a_circle() -> None:
    pages = [
        Say(200, {"testcases": []}, {"Link": f'<x?marker={n}>; rel="next"'}) for n in (1, 2, 1)
    ]
    with Scripted(*pages) as server, pytest.raises(exceptions.BadAnswer, match="leads to itself"):
        list(labapi_client.connect(server.url).testcases.list())


def test_output_is_read_of_a_lab_only() -> None:
    page = Say(200, b"<html>\n\nlog in\n\n</html>", {"Content-Type": "text/html"})
    with Scripted(page) as server, pytest.raises(exceptions.BadAnswer, match="URL of a lab"):
        list(labapi_client.connect(server.url).testcases.output("1"))


@pytest.mark.parametrize("wanted", ["60", "3600"])
def test_a_lab_that_wants_to_be_left_alone_is_not_asked_again(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labapi_client.following.PATIENCE", 30.0)
    monkeypatch.setattr("labapi_client.polling.PATIENCE", 30.0)
    away = fault(503, "serviceUnavailable", Retry_After=wanted)
    for wait in (lambda lab: lab.testcases.wait("1"), lambda lab: lab.plans.wait("1")):
        with Scripted(away) as server, pytest.raises(exceptions.Unavailable):
            wait(labapi_client.connect(server.url))
        assert len(server.asked) == 1


def test_a_chunk_that_is_none() -> None:
    chunks = Say(200, b"-5\r\nab\r\n", {"Transfer-Encoding": "chunked"})
    with Scripted(chunks) as server, pytest.raises(exceptions.ConnectionFailed, match="broke"):
        labapi_client.connect(server.url).testcases.cancel("1")


@pytest.mark.parametrize("secret", ["s3cret\n", "s3cr€t"])
def test_a_header_that_cannot_be_sent(secret: str) -> None:
    with Scripted(EMPTY) as server, pytest.raises(exceptions.BadConfiguration) as caught:
        list(labapi_client.connect(server.url, token=secret).limits.list())
    assert str(caught.value) == "X-Auth-Token cannot be sent: expected one line of ASCII"
    assert not server.asked


@pytest.mark.parametrize(
    ("scheme", "says"), [("http", "does not speak HTTP"), ("https", "http:// in place of")]
)
def test_what_does_not_speak_as_expected(scheme: str, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(exceptions.ConnectionFailed, match=says):
            labapi_client.connect(f"{scheme}://127.0.0.1:{port}").testcases.cancel("1")
        answering.join()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (fault(400, "badRequest"), exceptions.BadRequest),
        (fault(403, "forbidden"), exceptions.Forbidden),
        (fault(404, "itemNotFound"), exceptions.NotFound),
        (fault(405, "badMethod"), exceptions.BadMethod),
        (fault(409, "conflictingRequest"), exceptions.Conflict),
        (fault(413, "overLimit"), exceptions.OverLimit),
        (fault(415, "badMediaType"), exceptions.BadMediaType),
        (fault(500, "computeFault"), exceptions.ServerFault),
        (fault(501, "notImplemented"), exceptions.NotImplementedByLab),
        (fault(404), exceptions.NotFound),
        (fault(418), exceptions.Fault),
        (Say(200, "hello"), exceptions.BadAnswer),
        (Say(200, {"limits": {"rate": [{"name": 1}]}}), exceptions.BadAnswer),
    ],
)
def test_each_fault_is_an_error_of_its_own(said: Say, kind: type[Exception]) -> None:
    with Scripted(said) as server, pytest.raises(exceptions.LabError) as caught:
        list(labapi_client.connect(server.url).limits.list())
    assert type(caught.value) is kind


def test_an_error_is_one_line_for_a_terminal() -> None:
    said = fault(400, "badRequest", "one\r\ntwo \x1b[31mred\x07")
    with Scripted(said) as server, pytest.raises(exceptions.BadRequest) as caught:
        list(labapi_client.connect(server.url).limits.list())
    assert str(caught.value) == "one two ?[31mred? (req-1)"
    said = Say(404, {"itemNotFound": {"message": "no", "request_id": "req\n-\x1b[31m1"}})
    with Scripted(said) as server, pytest.raises(exceptions.NotFound) as caught:
        list(labapi_client.connect(server.url).limits.list())
    assert str(caught.value) == "no (req -?[31m1)"


def test_there_is_no_lab() -> None:
    port = free_port()
    with pytest.raises(exceptions.ConnectionFailed) as caught:
        labapi_client.connect(f"http://127.0.0.1:{port}").testcases.cancel("1")
    assert str(caught.value) == f"no connection to http://127.0.0.1:{port}/v2.1: Connection refused"


def test_a_lab_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        lab = labapi_client.connect(url, timeout=0.2)
        with pytest.raises(exceptions.ConnectionFailed, match="did not answer in time"):
            lab.testcases.cancel("1")
        seen: list[Exchange] = []
        lab = labapi_client.connect(url, timeout=0.1, debug=seen.append)
        with pytest.raises(exceptions.ConnectionFailed, match="did not answer in time"):
            lab.testcases.get("1")
        assert len(seen) == 2


@pytest.mark.parametrize(
    "drip",
    [Say(body=b" " * 1000, drips=0.05), Say(slow_head=0.05), Say(404, "no" * 500, drips=0.05)],
)
def test_an_answer_that_drips_has_an_end(drip: Say) -> None:
    with Scripted(drip) as server:
        lab = labapi_client.connect(server.url, answer_timeout=0.5)
        begun = time.monotonic()  # the whole answer takes 50 seconds
        with pytest.raises(exceptions.ConnectionFailed, match="did not answer in time"):
            lab.testcases.cancel("1")
        assert 0.5 <= time.monotonic() - begun < 40
        with pytest.raises(exceptions.ConnectionFailed, match="did not answer in time"):
            lab.stream("/x") if drip.status == 404 or drip.slow_head else lab.request("GET", "/x")
        until(lambda: len(server.asked) >= 3)  # what nobody waits for any more is read later
        assert len(server.asked) == 3


def test_an_answer_that_is_waited_for_has_that_time_too() -> None:
    with Scripted(Say(body=b"{}" + b" " * 20, drips=0.05)) as server:
        lab = labapi_client.connect(server.url, answer_timeout=0.5)
        assert lab.request("POST", "/x", wait=30).json() == {}


def test_what_is_read_as_it_comes_takes_as_long_as_it_takes() -> None:
    with Scripted(Say(body=b"x" * 20, drips=0.2)) as server:
        lab = labapi_client.connect(server.url, timeout=30, answer_timeout=3)
        with lab.stream("/x") as stream:
            assert b"".join(stream) == b"x" * 20
        silent = labapi_client.connect(server.url, timeout=0.01, answer_timeout=60)
        with pytest.raises(exceptions.ConnectionFailed), silent.stream("/x") as stream:
            list(stream)


def test_what_is_sent_takes_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 2.0)
    body = b" " * (16 << 20)
    with Scripted(Say(202, {}), pace=0.05) as server:
        begun = time.monotonic()
        lab = labapi_client.connect(server.url)
        lab.request("POST", "/x", body=body)
        assert time.monotonic() - begun > 2.0
        assert server.asked[0].body == body


def test_who_looks_on_sees_no_secret() -> None:
    seen: list[Exchange] = []
    with Scripted(
        fault(503, "serviceUnavailable"), Say(200, [1], {"Set-Cookie": "secret"})
    ) as server:
        lab = labapi_client.connect(server.url, username="u", password="secret", debug=seen.append)
        lab.request("GET", "/x", query={"a": 1, "b": None})
    assert [exchange.status for exchange in seen] == [503, 200]
    assert (seen[1].url, seen[1].answer) == (f"{server.url}/v2.1/x?a=1", b"[1]")
    assert seen[1].headers["Authorization"] == seen[1].answer_headers["Set-Cookie"] == "***"
    assert "secret" not in repr(seen) + repr(lab)


def test_who_looks_on_hears_why_there_is_no_answer() -> None:
    seen: list[Exchange] = []
    lab = labapi_client.connect(f"http://127.0.0.1:{free_port()}", debug=seen.append)
    with pytest.raises(exceptions.ConnectionFailed):
        list(lab.limits.list())
    assert len(seen) == 4
    assert seen[0].status is None
    assert "Connection refused" in str(seen[0].error)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_is_no_way_to_another_place(name: str) -> None:
    with Scripted(EMPTY) as server, pytest.raises(exceptions.NotFound):
        labapi_client.connect(server.url).testcases.cancel(name)
    assert not server.asked


def test_a_name_is_quoted() -> None:
    with Scripted(Say(200, CASE)) as server:
        labapi_client.connect(server.url).testcases.get("../x?y#z")
    assert server.asked[0].path == "/v2.1/testcases/..%2Fx%3Fy%23z"


def test_threads_share_a_lab() -> None:
    with Scripted(EMPTY) as server, labapi_client.connect(server.url) as lab:
        found: list[list[object]] = []
        threads = [
            threading.Thread(target=lambda: found.append(list(lab.limits.list())))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [[]] * 20


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(EMPTY) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        list(labapi_client.connect("http://lab.invalid:8774").limits.list())
        assert proxy.asked[0].path == "http://lab.invalid:8774/v2.1/limits"
        with Scripted(EMPTY) as near:
            list(labapi_client.connect(near.url).limits.list())
            assert near.asked
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("before", ["", "http://", "http://us%20er:pa%3Ass@"])
def test_a_proxy_that_is_a_host_and_a_port_or_asks_who(
    monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    with Scripted(EMPTY) as proxy:
        monkeypatch.setenv("http_proxy", f"{before}127.0.0.1:{proxy.port}")
        list(labapi_client.connect("http://lab.invalid:8774", token="t").limits.list())
        (asked,) = proxy.asked
    expected = f"Basic {base64.b64encode(b'us er:pa:ss').decode()}" if "@" in before else None
    assert asked.headers.get("Proxy-Authorization") == expected
    assert asked.headers["X-Auth-Token"] == "t"


def test_a_host_is_removed() -> None:
    said = {"host": "lab-9", "ended": {"host_removed": 2, "agent_lost": 0}, "left": "the queues"}
    with Scripted(Say(200, said)) as server:
        removed = labapi_client.connect(server.url).slaves.delete("lab-9")
    assert (removed.ended["host_removed"], removed.left) == (2, "the queues")
    assert (server.asked[0].method, server.asked[0].path) == ("DELETE", "/v2.1/slaves/lab-9")

"""No plan makes the API fail, holds it up, or reaches into another project."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
import webob

from tests.lab import HOST, Lab, ask
from tests.processes import until

PLACE = "testplan/1/Serial-Step-1/1"
ENTRY = {"plugin": "linux_system", "host": HOST, "method": "run_shell"}
TRUE = {**ENTRY, "parameters": {"command": "true"}}
ANYWHERE = {name: value for name, value in TRUE.items() if name != "host"}
HUGE = int("9" * 400)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def other(lab: Lab) -> Any:
    """The API as another project has it."""
    return lab.app_of("other")


def plan(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    step = {str(number): entry for number, entry in enumerate(entries, 1)}
    return {"name": "an attack", "testplan": {"1": {"Serial-Step-1": step}}, **more}


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {**ENTRY, "parameters": {"command": "sh", "args": ["-c", script]}, **more}


def send(app: Any, body: str | bytes, kind: str = "json", query: str = "") -> webob.Response:
    request = webob.Request.blank(
        f"/v2.1/testplans{query}",
        method="POST",
        body=body.encode() if isinstance(body, str) else body,
        content_type=f"application/{kind}",
        remote_addr="127.0.0.1",
    )
    return request.get_response(app)


def refusal(app: Any, body: str | bytes, kind: str = "json", query: str = "") -> str:
    """Send a body that no plan is; return what the answer says, which comes soon."""
    began = time.thread_time()
    answer = send(app, body, kind, query)
    assert time.thread_time() - began < 5  # of the processor
    assert answer.status_int == 400, answer.text
    assert len(answer.body) < 64 * 1024
    message: str = answer.json["badRequest"]["message"]
    return message


def ended(app: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Run a plan; return its tree."""
    made = ask(app, "/testplans", body)
    assert made.status_int == 202, made.text
    path = f"/testplans/{made.json['id']}"
    until(lambda: ask(app, path).json["state"] == "finished")
    found: dict[str, Any] = ask(app, path).json
    return found


FIELDS: list[dict[str, Any]] = [
    {"timeout": 0},
    {"timeout": -1},
    {"timeout": HUGE},
    {"timeout": 1e308},
    {"timeout": True},
    {"priority": HUGE},
    {"priority": 0.5},
    {"retry": {"attempts": 0}},
    {"retry": {"attempts": 11}},
    {"retry": {"attempts": HUGE}},
    {"retry": {"attempts": True}},
    {"retry": {"on": [[]]}},
    {"retry": {"on": ["CANCELLED"]}},
    {"continue_on": [{}]},
    {"always": "yes"},
    {"register": "a:b"},
    {"register": ["a"]},
    {"matrix": {"A": []}},
    {"matrix": {"A": [1, "1"]}},
    {"matrix": {"A": [HUGE]}},
    {"matrix": {"A": ["\u202e"]}},
    {"matrix": {"A": ["a\nb"]}},
    {"matrix": {"A": [[1]]}},
    {"matrix": {f"A{number}": [1, 2] for number in range(16)}},
    {"matrix": {f"A{number}": list(range(9999)) for number in range(16)}},
    {"matrix": {name: [name * 200] for name in "ABC"}},
    {"host": "\x00"},
    {"host": "\x1b[2J"},
    {"host": ["lab-1"]},
    {"host": {"get_param": "a" * 300}},
    {"host": {"get_param": "__class__"}},
    {"host": {"get_param": ":"}},
    {"parameters": []},
    {"parameters": {"command": "true", "args": [HUGE]}},
    {"parameters": {"__proto__": 1}},
    {"same_host_as": "\x1b[2J"},
    {"same_host_as": ["1/Serial-Step-1/1"] * 2},
    {"plugin": "__class__"},
    {"method": "__init__"},
    {"DESCRIPTION": "\x1b[2J"},
    {"DESCRIPTION": "x" * 5000},
    {"count": 2},
    {"\x00": 1},
    {"x" * 100_000: 1},
    {str(number): 1 for number in range(20_000)},
]


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: str(fields)[:40].encode().hex())
def test_a_field_is_refused_at_its_place(lab: Lab, fields: dict[str, Any], query: str) -> None:
    message = refusal(lab.app, json.dumps(plan({**TRUE, **fields})), query=query)
    assert f"thing is wrong: {PLACE}" in message or f"the first: {PLACE}" in message
    assert message.isprintable()


# What stands in "parameters" of a plan in YAML.
YAML = {
    "!!python/object/apply:os.system [id]": "the tag",
    "{command: !!binary aGk=}": "the tag",
    "{command: *nothing}": "stands for nothing",
    "&x {command: *x}": "stands for nothing",
    "{command: a, command: b}": "is there twice",
    "{? [a] : b}": "a key is a text or a number",
    "{command: .nan}": "no number that JSON has",
    "{command: 1e999}": "no number that JSON has",
    "{<<: 1}": "merges an object",
    f"{{command: {'9' * 100}}}": "is not of type 'string'",
    "{command: ~}": "null is not of type 'string'",
    "[" * 100_000: "nested deeper than 64 levels",
}


@pytest.mark.parametrize("text", YAML, ids=lambda text: text[:32].encode().hex())
def test_yaml_says_no_more_than_json(lab: Lab, text: str) -> None:
    what = f"plugin: linux_system, host: {HOST}, method: run_shell"
    body = f"name: y\ntestplan: {{1: {{Serial-Step-1: {{1: {{{what}, parameters: {text}}}}}}}}}"
    assert YAML[text] in refusal(lab.app, body, "yaml")


def aliases(value: Callable[[str], str], count: int) -> str:
    """Return an environment in which each value has the one before it in it."""
    lines = "".join(f"  e{n}: &e{n} {value(f'*e{n - 1}')}\n" for n in range(1, count))
    return f"name: y\nenvironment:\n  e0: &e0 {{k: v}}\n{lines}testplan: {{}}\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (aliases(lambda e: f"[{', '.join([e] * 9)}]", 9), "with what aliases stand for"),
        (aliases(lambda e: f"{{<<: [{', '.join([e] * 9)}]}}", 9), "with what aliases stand for"),
        (aliases(lambda e: f"[{e}]", 5000), "nested deeper than 64 levels"),
        (aliases(lambda e: f"{'[' * 50}{e}{']' * 50}", 40), "nested deeper than 64 levels"),
        (aliases(lambda e: f"{{a: {e}}}", 5000), "nested deeper than 64 levels"),
        ("? " * 100_000, "nested deeper than 64 levels"),
        ("!" * 100_000, "the tag"),
        ("a: b\n" * 2, "is there twice"),
        ("a: b\n--- {}\n", "a second document begins"),
        (b"\xff\xfea", "not UTF-8"),
        ("a: \x07", "control characters are not allowed"),
        ("- a", "not an object"),
    ],
    ids=map(str, range(12)),
)
def test_documents_in_yaml(lab: Lab, body: str | bytes, said: str) -> None:
    assert said in refusal(lab.app, body, "yaml")


MANY = 20_000


@pytest.mark.parametrize(
    ("testplan", "said"),
    [
        (dict.fromkeys(map(str, range(1, MANY)), 1), "more than 10000 entries"),
        ({"1": {"Serial-Step-1": dict.fromkeys(map(str, range(MANY)), 1)}}, "more than 10000"),
        ({"1": {f"Serial-Step-{number}": {} for number in range(MANY)}}, "20000 things are wrong"),
        (
            {"1": {"Serial-Step-1": {"1": {**ANYWHERE, "hosts": [f"h{n}" for n in range(MANY)]}}}},
            "at most 10000 items",
        ),
        (
            {"1": {"Serial-Step-1": {str(n): {**TRUE, "plugin": f"p{n}"} for n in range(1, 5000)}}},
            "has no plugin 'p1'",
        ),
        (
            {
                "1": {
                    "Serial-Step-1": {str(n): {**ANYWHERE, "zone": f"z{n}"} for n in range(1, 5000)}
                }
            },
            "at most 2000 different things",
        ),
    ],
    ids=["test-cases", "entries", "steps", "hosts", "plugins", "zones"],
)
def test_much_that_is_wrong_is_told_in_short(lab: Lab, testplan: Any, said: str) -> None:
    assert said in refusal(lab.app, json.dumps({"name": "many", "testplan": testplan}))


def test_what_asks_for_much_is_not_built(lab: Lab) -> None:
    environment = {"A": ["x" * 1000] * 1000}
    asks = {"command": "echo", "args": {"get_param": "A"}}
    spread = {**ENTRY, "parameters": asks, "matrix": {"M": list(range(9999))}}
    assert "bytes" in refusal(lab.app, json.dumps(plan(spread, environment=environment)))


@pytest.mark.parametrize("notify", [[{"mail": "a@b\r\nBcc: c@d"}], [{"mail": ["a@b"] * 21 + [""]}]])
def test_nobody_else_is_told(lab: Lab, notify: Any) -> None:
    assert "notify/0" in refusal(lab.app, json.dumps(plan(TRUE, notify=notify)))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ci.example/",
        "file:///etc/passwd",
        "http://user:password@ci.example/",
        "http://ci.example/ HTTP/1.1\r\nX: y",
        "http://ci.example:0/",
        "http://ci.example:99999/",
        "http://[::1/",
        "http:///",
        "//ci.example/",
        "http://ci.example/\u202e",
        "http://" + "a" * 3000,
    ],
)
def test_a_webhook_is_a_plain_url(lab: Lab, url: str) -> None:
    body = json.dumps(plan(TRUE, notify=[{"webhook": url}]))
    assert "is not a URL such as" in refusal(lab.app, body)


def test_a_whole_number_may_have_a_point(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """An agent takes the command: what JSON says as 5.0 is 5."""
    assert ended(lab.app, plan({**TRUE, "priority": 5.0}))["result"] == "PASS"
    assert "dropped a message" not in caplog.text
    case = ask(lab.app, "/testcases?wait=30", {**TRUE, "priority": 5.0})
    assert (case.status_int, case.json["priority"]) == (200, 5)


@pytest.fixture(scope="module")
def ours(lab: Lab) -> str:
    """A plan of the first project that has ended."""
    return str(ended(lab.app, plan(TRUE))["id"])


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        *(("GET", rest) for rest in ("", "/report.xml", "/report.html", "/report.txt")),
        ("DELETE", ""),
        ("POST", "/rerun"),
    ],
)
def test_another_project_s_plan_is_not_there(ours: str, other: Any, method: str, rest: str) -> None:
    body = {} if method == "POST" else None
    answer = ask(other, f"/testplans/{ours}{rest}", body, method=method)
    unknown = ask(other, f"/testplans/{ours[:-1]}x{rest}", body, method=method)
    assert answer.status_int == unknown.status_int == 404
    said = [found.json["itemNotFound"]["message"] for found in (answer, unknown)]
    assert said[0] == said[1].replace(f"{ours[:-1]}x", ours)


def test_lists_of_another_project(ours: str, other: Any) -> None:
    assert ask(other, "/testplans").json == {"testplans": []}
    assert ask(other, f"/testplans?marker={ours}").status_int == 400
    assert ask(other, f"/testcases?plan={ours}").json == {"testcases": []}


def test_a_key_belongs_to_its_project_and_to_one_body(lab: Lab, ours: str, other: Any) -> None:
    key = {"Idempotency_Key": "attack"}
    first = ask(lab.app, "/testplans", plan(TRUE), **key)
    assert ask(lab.app, "/testplans", plan(TRUE), **key).json["id"] == first.json["id"]
    assert ask(other, "/testplans", plan(TRUE), **key).json["id"] != first.json["id"]
    assert ask(lab.app, "/testplans", plan(TRUE, priority=1), **key).status_int == 409
    assert ask(lab.app, f"/testplans/{ours}/rerun", {}, **key).status_int == 409
    dry = ask(lab.app, "/testplans?dry_run=true", plan(TRUE, priority=1), **key)
    assert dry.json.keys() == {"name", "entries"}


@pytest.mark.parametrize(
    "query",
    [
        *("marker=-1", f"marker={HUGE}", "marker=%00", "limit=0", f"limit=-{HUGE}", "limit=%D9%A1"),
        *("output=1", "output=true&output=true", "result=pass", "state=x", "x=1", "%ff=1"),
    ],
)
def test_odd_pages_of_a_tree(lab: Lab, ours: str, query: str) -> None:
    assert ask(lab.app, f"/testplans/{ours}?{query}").status_int == 400


def test_what_ends_is_ended_once(lab: Lab, ours: str) -> None:
    assert ask(lab.app, f"/testplans/{ours}", method="DELETE").status_int == 409
    assert ask(lab.app, f"/testplans/{ours}/rerun", {"only": "failed"}).status_int == 409
    path = f"/testplans/{ask(lab.app, '/testplans', plan(shell('sleep 60'))).json['id']}"
    assert ask(lab.app, f"{path}/rerun", {}).status_int == 409
    assert ask(lab.app, path, method="DELETE").status_int == 202
    assert ask(lab.app, path, method="DELETE").status_int in (202, 409)
    until(lambda: ask(lab.app, path).json["state"] == "finished")
    assert ask(lab.app, path, method="DELETE").status_int == 409


HOSTILE = "<script>x</script>\"'&]]>-->{{1}}"


@pytest.fixture(scope="module")
def hostile(lab: Lab) -> str:
    """A plan all of whose texts are written by somebody who means harm."""
    written = (
        "printf '<script>]]>\\001\\033[2J\\033]0;t\\007\\377\\302\\205\\342\\200\\256'; exit 1"
    )
    entry = shell(written, DESCRIPTION=HOSTILE, matrix={"A": [HOSTILE]})
    body = plan(entry, name=HOSTILE)
    body["testplan"]["1"] |= {"DESCRIPTION": HOSTILE}
    return str(ended(lab.app, body)["id"])


@pytest.mark.parametrize("form", ["xml", "html", "txt"])
def test_a_report_of_hostile_texts(lab: Lab, hostile: str, form: str) -> None:
    answer = ask(lab.app, f"/testplans/{hostile}/report.{form}")
    assert answer.status_int == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    text = answer.text
    assert not {"\x01", "\x1b", "\x07", "\x85", "\u202e"} & set(text)
    if form == "xml":
        assert ElementTree.fromstring(answer.body).get("name") == HOSTILE
    elif form == "html":
        assert "<script" not in text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_what_is_registered_is_a_value_and_no_more(lab: Lab) -> None:
    """What a host writes is not asked for again, and cannot be where nothing is."""
    says = shell('echo \'{"get_param": "SECRET"}\'', register="__class__")
    uses = {"command": "echo", "args": [{"get_param": "__class__"}]}
    leads = {"command": {"get_param": "__class__:__init__:0"}}
    entries = says, {**ENTRY, "parameters": uses}, {**ENTRY, "parameters": leads}
    tree = ended(lab.app, plan(*entries, environment={"SECRET": "s3cret"}))
    step = tree["testplan"]["1"]["Serial-Step-1"]
    assert step["2"]["output"]["log"] == '{"get_param": "SECRET"}\n'
    assert (step["3"]["output"]["result"], step["3"]["reason"]) == ("ERROR", "bad_data")


def test_a_lease_of_another_project_is_not_there(lab: Lab, other: Any) -> None:
    lease = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 60}).json["id"]
    for body in (
        plan({**ANYWHERE, "lease": lease}),
        {"name": "x", "testplan": {"1": {"lease": lease, "Serial-Step-1": {"1": ANYWHERE}}}},
    ):
        said = refusal(other, json.dumps(body))
        assert f"your project has no lease '{lease}'" in said
    assert ask(other, f"/leases/{lease}", {"seconds": 1}, method="PUT").status_int == 404
    assert ask(other, f"/leases/{lease}", method="DELETE").status_int == 404
    assert ask(lab.app, f"/leases/{lease}", method="DELETE").status_int == 204


def test_a_group_of_another_project_is_closed(lab: Lab, other: Any) -> None:
    admin = lab.app_of("admins", "admin, member, reader")
    made = ask(admin, "/groups", {"name": "closed", "hosts": [HOST], "projects": ["noauth"]})
    assert made.status_int == 201, made.text
    try:
        for entry in (TRUE, {**ANYWHERE, "group": "closed"}, {**ANYWHERE, "hosts": "all"}):
            assert "group" in refusal(other, json.dumps(plan(entry)))
        waits = ask(other, "/testplans", plan(ANYWHERE)).json["id"]
        assert ended(lab.app, plan(ANYWHERE))["result"] == "PASS"
        assert ask(other, f"/testplans/{waits}").json["state"] in ("queued", "running")
        ask(other, f"/testplans/{waits}", method="DELETE")
    finally:
        ask(admin, "/groups/closed", method="DELETE")


def test_what_a_group_or_a_lease_of_another_project_holds_is_not_told(lab: Lab, other: Any) -> None:
    admin = lab.app_of("admins", "admin, member, reader")
    ask(admin, "/groups", {"name": "closed", "projects": ["noauth"]})
    lease = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 60}).json["id"]
    ask(lab.app, f"/leases/{lease}", method="DELETE")
    try:
        for field, there, unknown in (
            ("group", "closed", "nothing"),
            ("lease", lease, str(uuid.uuid4())),
        ):
            said = [
                refusal(
                    other,
                    json.dumps(
                        {"name": "x", "testplan": {"1": {field: key, "Serial-Step-1": {"1": TRUE}}}}
                    ),
                ).replace(key, "KEY")
                for key in (there, unknown)
            ]
            assert said[0] == said[1]
    finally:
        ask(admin, "/groups/closed", method="DELETE")

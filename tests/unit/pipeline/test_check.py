"""What is wrong with a Paste file is found before anything is built, all of it at once."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from paste.deploy import loadwsgi

from labapi import config
from labapi.api import load, policy
from labapi.exceptions import ConfigError
from labapi.pipeline.check import check
from tests.lab import Lab
from tests.programs import run
from tests.unit.pipeline.shipped import GIVEN, SHIPPED, edited, findings, said

AUTH = "noauth\n    # believes the identity that the authentication confirmed, and nothing else\n"


def test_nothing_is_wrong_with_the_shipped_file(tmp_path: Path) -> None:
    assert findings(SHIPPED, tmp_path) == ()


@pytest.mark.parametrize("word", ["basic", "keystone"])
def test_the_other_authentications_are_one_word_away(tmp_path: Path, word: str) -> None:
    (tmp_path / "htpasswd").touch(0o600)
    text = edited(("\n    noauth\n", f"\n    {word}\n"), ("/etc/labapi/", f"{tmp_path}/"))
    assert findings(text, tmp_path) == ()


def test_the_optional_filters_can_be_taken_in(tmp_path: Path) -> None:
    text = edited(("\n    proxy\n", "\n    metrics\n    proxy\n    audit\n    cors\n"))
    assert findings(text, tmp_path) == ()


V = "[pipeline:v2.1]: pipeline: "
MISTAKES = {
    "a filter that is not installed": (
        ("egg:labapi-middleware#sizelimit", "egg:labapi-middleware#sizelimt"),
        "[filter:sizelimit]: use: 'labapi-middleware' has no filter 'sizelimt'; did you mean"
        " 'egg:labapi-middleware#sizelimit'?",
    ),
    "a distribution that is not installed": (
        ("egg:labapi-middleware#sizelimit", "egg:labapi-midleware#sizelimit"),
        "[filter:sizelimit]: use: the distribution 'labapi-midleware' is not installed; did you"
        " mean 'labapi-middleware'?",
    ),
    "an application in the place of a filter": (
        ("egg:labapi-middleware#sizelimit", "egg:labapi#api"),
        "[filter:sizelimit]: use: 'api' of 'labapi' is not a filter",
    ),
    "a module that is not there": (
        ("egg:labapi-middleware#sizelimit", "call:no.such:thing"),
        "[filter:sizelimit]: use: 'call:no.such:thing' cannot be loaded (ModuleNotFoundError: No"
        " module named 'no')",
    ),
    "a URI that Paste does not know": (
        ("egg:labapi-middleware#sizelimit", "eg:labapi-middleware#sizelimit"),
        "[filter:sizelimit]: use: 'eg:labapi-middleware#sizelimit': 'eg:' is not known; expected"
        " egg:, config: or call:",
    ),
    "an option that is misspelt": (
        ("max_request_body_size =", "max_request_body_sise ="),
        "[filter:sizelimit]: max_request_body_sise: there is no such option; did you mean"
        " 'max_request_body_size'?",
    ),
    "a value that is wrong": (
        ("= 1048576", "= 1 MiB"),
        "[filter:sizelimit]: max_request_body_size: '1 MiB': expected a whole number from 0 to"
        " 9223372036854775807",
    ),
    "an option of an application that has none": (
        ("[app:api]\n", "[app:api]\ncolor = red\n"),
        "[app:api]: color: there is no such option; this application has none",
    ),
    "a section that is missing": (
        ("\n    context\n", "\n    contxt\n"),
        f"{V}there is no section [filter:contxt]; did you mean 'context'?",
    ),
    "a mount that is missing": (
        ("/v2.1 = v2.1", "/v2.1 = v21"),
        "[composite:main]: /v2.1: there is no section [app:v21]; did you mean 'v2.1'?",
    ),
    "a mount that is no prefix": (
        ("/v2.1 = v2.1", "v2.1 = v2.1"),
        "[composite:main]: v2.1: expected a prefix such as /v2.1",
    ),
    "nothing for the rest": (
        ("\n/ = root", ""),
        "[composite:main]: /: expected the application for what no prefix takes",
    ),
    "a filter after the application": (
        ("\n    api\n", "\n    api\n    context\n"),
        f"{V}'api' is an application, which can only stand last",
    ),
    "no application": (
        ("\n    context\n    api\n", "\n    context\n"),
        f"{V}'context' is a filter, and here, last, belongs an application",
    ),
    "an empty pipeline": (
        ("pipeline = request_id access_log faultwrap versions", "pipeline ="),
        "[pipeline:root]: pipeline: expected the names of filters and, last, of an application",
    ),
    "a pipeline with options": (
        ("faultwrap versions", "faultwrap versions\ncolor = red"),
        "[pipeline:root]: color: a pipeline has no other option than 'pipeline'",
    ),
    "a comment behind a filter": (
        ("faultwrap versions", "faultwrap versions # and no more"),
        "[pipeline:root]: pipeline: the comment '# and no more' needs its own line",
    ),
    "no authentication": (
        ("\n    noauth\n", "\n"),
        f"{V}'context' needs an authentication (noauth, basic or keystone) to the left of"
        " 'context'",
    ),
    "authentication after what needs it": (
        ((f"\n    {AUTH}    context\n"), "\n    context\n    noauth\n"),
        f"{V}'context' needs 'noauth' to the left of 'context', and it stands to its right",
    ),
    "no context": (
        ("\n    context\n", "\n"),
        f"{V}'api' needs the filter context to the left of 'api'",
    ),
    "two authentications": (
        ("\n    noauth\n", "\n    noauth\n    keystone\n"),
        f"{V}'noauth' and 'keystone' are both authentications; one is enough",
    ),
    "a filter twice": (
        ("\n    proxy\n", "\n    proxy\n    proxy\n"),
        f"{V}'proxy' stands here twice",
    ),
    "a rule per user left of the authentication": (
        ("minute per address", "minute per user"),
        "[filter:ratelimit]: rule_all: this option needs 'noauth' to the left of 'ratelimit', and"
        " it stands to its right",
    ),
    "an option that [DEFAULT] overrides": (
        ("[composite:main]", "[DEFAULT]\nmax_request_body_size = 9\n[composite:main]"),
        "[filter:sizelimit]: max_request_body_size: [DEFAULT] has it too, and Paste takes that one"
        " ('9') and not this ('1048576'); write 'set max_request_body_size = 1048576', or remove it"
        " from [DEFAULT]",
    ),
    "a per cent sign": (
        ("= 1048576", "= 100%"),
        "[filter:sizelimit]: max_request_body_size: % begins a name that is put in, such as"
        " %(here)s; write %% for a per cent sign",
    ),
    "a name to put in that is not there": (
        ("= 1048576", "= %(size)s"),
        "[filter:sizelimit]: max_request_body_size: there is no 'size' to put in (write %% for a"
        " per cent sign)",
    ),
    "a pipeline in itself": (
        ("faultwrap versions", "faultwrap root"),
        "[pipeline:root]: pipeline: 'root' leads back to [pipeline:root] itself",
    ),
    "two sections of a name": (
        ("[app:versions]", "[app:root]\nuse = egg:labapi#versions\n[app:versions]"),
        "[composite:main]: /: 'root' may be any of [pipeline:root], [app:root]",
    ),
    "nothing to use": (
        ("[app:api]\nuse = egg:labapi#api", "[app:api]"),
        "[app:api]: use: the section does not say what to use; did you mean 'egg:labapi#api'?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(tmp_path: Path, name: str) -> None:
    (change, expected) = MISTAKES[name]
    assert expected in said(edited(change), tmp_path)
    assert all(finding.fatal for finding in findings(edited(change), tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[composite:main", "api-paste.ini: "),
        ("use = x\n", "line 1: expected a section first, such as [composite:main]"),
        ("[app:a]\nuse = x\nuse = y\n", "[app:a]: use: line 3: the option stands twice"),
        ("[app:a]\n[app:a]\n", "[app:a]: line 2: a section of this name stands further up"),
        ("[app:other]\nuse = egg:labapi#api\n", "there is no section [composite:main], [pipeline:"),
        ("[composite:man]\n", "or [app:main]; [composite:man] has to be [composite:main]"),
        ("\udcff", "api-paste.ini: "),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "api-paste.ini"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    report = check.examine(str(file), GIVEN)
    assert report.assembly is None
    (finding,) = report.errors
    assert expected in str(finding)


def test_an_application_that_nothing_names(tmp_path: Path) -> None:
    (found, *_) = said("[app:main]\nuse = egg:labapi#api\n", tmp_path)
    assert found == "[app:main]: 'main' needs the filter context to the left of 'main'"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("auth_ulr = x", "auth_ulr: there is no such option; did you mean 'auth_url'?"),
        ("auth_type = pasword", "auth_type: there is no way to log in called 'pasword'; did you"),
        ("http_connect_timeout = soon", "http_connect_timeout: 'soon': expected integer"),
    ],
)
def test_options_of_keystone(tmp_path: Path, option: str, expected: str) -> None:
    name = option.partition(" ")[0]
    lines = edited(("\n    noauth\n", "\n    keystone\n")).splitlines()
    lines = [line for line in lines if not line.startswith(f"{name} =")]
    lines.insert(lines.index("[filter:keystone]") + 1, option)
    (line,) = said("\n".join(lines), tmp_path)
    assert line.startswith(f"[filter:keystone]: {expected}")


def test_a_client_that_is_found_too_late_may_be_meant(tmp_path: Path) -> None:
    text = edited(("\n    proxy\n", "\n"), ("\n    context\n", "\n    proxy\n    context\n"))
    found = findings(text, tmp_path)
    assert {str(f.place.option) for f in found} == {"pipeline"}
    assert not any(finding.fatal for finding in found)
    assert "warning: 'ip_whitelist' sees the addresses of proxies" in str(found[0])


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    names = [
        "an option that is misspelt",
        "an option of an application that has none",
        "a section that is missing",
        "a comment behind a filter",
        "a rule per user left of the authentication",
    ]
    text = edited(*(MISTAKES[name][0] for name in names))
    text = text.replace("storage = memory://", "storage = memory://\nstratgy = x\ntimeout = soon")
    found = said(text, tmp_path)
    # The rule cannot be told as long as the filter's other options are wrong.
    for name in names[:-1]:
        assert MISTAKES[name][1] in found, name
    of_ratelimit = [line for line in found if line.startswith("[filter:ratelimit]")]
    assert ["stratgy" in line or "timeout: 'soon'" in line for line in of_ratelimit] == [True, True]


def test_the_api_refuses_to_start_in_the_same_words(tmp_path: Path) -> None:
    text = edited(("\n    context\n", "\n"), ("= 1048576", "= big"))
    found = findings(text, tmp_path)
    assert len(found) == 2
    lab = Lab(tmp_path, api__paste_config=str(tmp_path / "api-paste.ini"))
    with pytest.raises(ConfigError) as error:
        lab.start(agent=False)
    assert str(error.value) == "\n".join(map(str, found))
    lab.database.close()


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """Provide a filter of which nothing is known, in a module of its own."""
    module = types.ModuleType("foreign")

    def filter_factory(global_conf, word, color="red"):  # type: ignore[no-untyped-def]
        return lambda app: app

    module.filter_factory = filter_factory  # type: ignore[attr-defined]
    sys.modules["foreign"] = module
    yield module
    del sys.modules["foreign"]


FOREIGN = "\n[filter:foreign]\npaste.filter_factory = foreign:filter_factory\n"


def test_options_of_a_foreign_filter(tmp_path: Path, foreign: types.ModuleType) -> None:
    text = edited(("\n    context\n", "\n    context\n    foreign\n")) + FOREIGN + "colour = red\n"
    assert said(text, tmp_path) == [
        "[filter:foreign]: colour: there is no such option; did you mean 'color'?",
        "[filter:foreign]: word: this option is required",
    ]
    assert said(text.replace("colour = red", "word = a"), tmp_path) == []


def test_a_foreign_filter_may_be_an_authentication(
    tmp_path: Path, foreign: types.ModuleType
) -> None:
    text = edited(("\n    noauth\n", "\n    foreign\n")) + FOREIGN + "word = a\n"
    (finding,) = findings(text, tmp_path)
    assert not finding.fatal
    assert "or is it 'foreign', of which nothing is known here?" in str(finding)
    foreign.filter_factory.gives = "identity"
    assert findings(text, tmp_path) == ()


# Each is a whole file; Paste builds the same chain that the check sees.
SHAPES = {
    "filter-with": (
        "[app:main]\nuse = egg:labapi#versions\nfilter-with = a\n"
        "[filter:a]\nuse = egg:labapi-middleware#request_id\nfilter-with = b\n"
        "[filter:b]\nuse = egg:labapi-middleware#faultwrap\n",
        ["b", "a", "main"],
    ),
    "filter-app": (
        "[filter-app:main]\nuse = egg:labapi-middleware#request_id\nnext = v\n"
        "[app:v]\nuse = egg:labapi#versions\n",
        ["main", "v"],
    ),
    "use of a section": (
        "[pipeline:main]\npipeline = small v\n[app:v]\nuse = egg:labapi#versions\n"
        "[filter:small]\nuse = large\nmax_request_body_size = 10\n"
        "[filter:large]\nuse = egg:labapi-middleware#sizelimit\nmax_request_body_size = 99\n",
        ["small", "v"],
    ),
    "a pipeline in a pipeline": (
        "[pipeline:main]\npipeline = a inner\n[pipeline:inner]\npipeline = b v\n"
        "[app:v]\nuse = egg:labapi#versions\n"
        "[filter:a]\nuse = egg:labapi-middleware#request_id\n"
        "[filter:b]\nuse = egg:labapi-middleware#faultwrap\n",
        ["a", "b", "v"],
    ),
    "URIs in a pipeline": (
        "[pipeline:main]\npipeline = egg:labapi-middleware#faultwrap egg:labapi#versions\n",
        ["egg:labapi-middleware#faultwrap", "egg:labapi#versions"],
    ),
    "another file": (
        "[pipeline:main]\npipeline = a config:other.ini#v\n"
        "[filter:a]\nuse = egg:labapi-middleware#request_id\n",
        ["a", "v"],
    ),
    "set and get": (
        "[DEFAULT]\nmax_request_body_size = 5\nmine = 7\n[pipeline:main]\npipeline = a b v\n"
        "[app:v]\nuse = egg:labapi#versions\n[filter:b]\nuse = egg:labapi-middleware#faultwrap\n"
        "[filter:a]\nuse = egg:labapi-middleware#sizelimit\nset max_request_body_size = 10\n",
        ["a", "b", "v"],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_as_paste_builds_it(tmp_path: Path, name: str) -> None:
    text, names = SHAPES[name]
    (tmp_path / "other.ini").write_text("[app:v]\nuse = egg:labapi#versions\n")
    assert not any(finding.fatal for finding in findings(text, tmp_path))
    file = tmp_path / "api-paste.ini"
    report = check.examine(str(file), GIVEN)
    assert report.assembly is not None
    (chain,) = report.assembly.chains()
    assert [part.name for part in chain] == names
    built = loadwsgi.loadapp(f"config:{file}", global_conf=GIVEN)
    limits: list[str] = []
    for part in chain[:-1]:
        assert part.told("options") == type(built).options
        if part.factory is not None and part.factory.name == "sizelimit":
            limits.append(str(built.limit))
            given, local = part.texts()
            assert {**given, **local}["max_request_body_size"] == limits[-1]
        built = built.app
    assert limits == (["10"] if "max_request_body_size" in text else [])


def shown(text: str, folder: Path, *args: str) -> list[dict[str, str]]:
    file = folder / "api-paste.ini"
    file.write_text(text)
    done = run(
        "labapi-manage", "pipeline", "show", "--paste-config", str(file), "-f", "json", *args
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_show(tmp_path: Path) -> None:
    text = edited(
        ("[composite:main]", "[DEFAULT]\nheader = Forwarded\ndeny_message = x\n[composite:main]"),
        ("allow =\n", "set deny_message = no\nallow = 10.0.0.0/8\n"),
        ("storage = memory://", "storage = redis://:hush@127.0.0.1/0"),
    )
    rows = {(r["URL"], r["Part"], r["Option"]): r for r in shown(text, tmp_path)}
    order = list(dict.fromkeys(part for url, part, _ in rows if url == "/v2.1"))
    filters = "request_id access_log faultwrap proxy sizelimit ip_whitelist ratelimit noauth"
    assert " ".join(order) == f"{filters} context api"

    def of(part: str, option: str) -> tuple[str, str]:
        row = rows["/v2.1", part, option]
        return row["Value"], row["From"]

    assert of("proxy", "use") == ("egg:labapi-middleware#proxy", "[filter:proxy]")
    assert of("proxy", "header") == ("Forwarded", "[DEFAULT]")
    assert of("proxy", "use_host") == ("false", "default")
    assert of("ip_whitelist", "allow") == ("10.0.0.0/8", "[filter:ip_whitelist]")
    assert of("ip_whitelist", "deny_message") == ("no", "[filter:ip_whitelist] set")
    assert of("ratelimit", "storage") == ("***", "[filter:ratelimit]")


def test_check_as_a_command(tmp_path: Path) -> None:
    file = tmp_path / "api-paste.ini"
    file.write_text(edited(("\n    context\n", "\n")))
    check = ["labapi-manage", "pipeline", "check", "--paste-config", str(file)]
    done = run(*check)
    assert done.returncode == 1
    assert done.stdout == f"{file}: {MISTAKES['no context'][1]}\n"
    file.write_text(SHIPPED)
    done = run(*check)
    assert (done.returncode, done.stdout) == (0, f"{file}: nothing is wrong with it\n")


def test_check_knows_the_address_that_the_api_listens_on(tmp_path: Path) -> None:
    (tmp_path / "api-paste.ini").write_text(SHIPPED)
    config = tmp_path / "labapi.conf"
    config.write_text("[api]\nhost = 0.0.0.0\n")
    check = ["labapi-manage", "--config-file", str(config), "pipeline", "check"]
    done = run(*check)
    assert done.returncode == 1
    assert "the API listens on 0.0.0.0:8774, where others reach it" in done.stdout
    done = run(*check, "--api-host", "127.0.0.1", "--api-port", "80")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(*check, "--api-host", "::", "--api-port", "80")
    assert "the API listens on [::]:80" in done.stdout


def test_nothing_is_opened_for_writing(tmp_path: Path) -> None:
    """Every file that the process opens is seen by an audit hook, and so is every connection.

    The command line's library keeps what it knows of entry points in a cache of the user's.
    """
    (tmp_path / "htpasswd").touch(0o600)
    (tmp_path / "metrics").mkdir()
    text = edited(
        ("/etc/labapi/htpasswd\n", f"{tmp_path}/htpasswd\n"),
        ("\n    proxy\n", "\n    metrics\n    proxy\n    audit\n    cors\n"),
        ("#audit\n", f"#audit\nfile = {tmp_path}/audit.log\n"),
        ("[filter:metrics]\n", f"[filter:metrics]\nmultiprocess_dir = {tmp_path}/metrics\n"),
        ("storage = memory://", "storage = redis://127.0.0.1:1/0"),
    )
    words = ("noauth", "basic", "keystone")
    for word in words:
        file = tmp_path / f"{word}.ini"
        file.write_text(edited(("\n    noauth\n", f"\n    {word}\n"), text=text))
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, *(str(tmp_path / f"{word}.ini") for word in words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("nothing is wrong with it") == len(words)
    assert sorted(tmp_path.iterdir()) == before


WATCHED = """
import os, sys

def watch(event, args):
    if event == "open" and "python-entrypoints" not in str(args[0]) and args[0] != os.devnull:
        if (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND):
            sys.stderr.write(f"OPENED {args}\\n")
    elif event == "socket.connect":
        sys.stderr.write(f"OPENED {event}\\n")

from labapi.cmd.manage import Manage
sys.addaudithook(watch)
for file in sys.argv[1:]:
    for command in ("check", "show"):
        assert Manage().run(["pipeline", command, "--paste-config", file]) == 0
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"slaves:shwo": "@"', "slaves:shwo: nothing asks for this rule; did you mean"),
        ('"slaves:show": "reader or"', "slaves:show: 'reader or' is not a check; expected one"),
        ('"slaves:show": "rule:nobody"', "slaves:show: there is no rule 'nobody'"),
        ('"slaves:show": "rule:raeder"', "no rule 'raeder'; did you mean 'reader'?"),
        ('"slaves:\x1bshwo": "@"', "expected lines 'rule: check' in YAML"),
        ('"reader": "rule:reader"', "a rule refers to itself"),
        ('"slaves:show": 5', "expected lines 'rule: check' in YAML"),
        ('5: "@"', "5: expected a line 'rule: check'"),
        ('"slaves:show":', "slaves:show: expected a line 'rule: check'"),
        ('"slaves:show": [["!"]]', "slaves:show: expected a line 'rule: check'"),
        ('"slaves:show": {}', "slaves:show: expected a line 'rule: check'"),
        ('"slaves:show": "project_id:%(project_id)d"', "it cannot be asked (TypeError: "),
        (
            '"slaves:show": "role:a or not project_id:%(project_id"',
            "it cannot be asked (ValueError: ",
        ),
        ('"slaves:show": "user_id.name:a"', "'user_id.name:a': it cannot be asked (TypeError: "),
        ('"slaves:show": "class:a"', "'class:a': it cannot be asked (SyntaxError: "),
        ('"slaves:show": "role:a and user_id:%(user)s"', "there is no 'user'; expected %(project"),
        ("- a", "expected lines 'rule: check' in YAML"),
        ("a: [", "expected lines 'rule: check' in YAML"),
    ],
)
def test_a_policy_that_is_none(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(ConfigError) as error:
        policy.load(_with_policy(conf, file))
    assert expected in str(error.value)


def test_a_policy_that_is_a_folder(tmp_path: Path) -> None:
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(ConfigError, match="this is a folder"):
        policy.load(_with_policy(conf, tmp_path))


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    policy.load(conf)  # without it the defaults are in force
    with pytest.raises(ConfigError, match=r"policy\.yml: there is no such file"):
        policy.load(_with_policy(conf, tmp_path / "policy.yml"))


def test_a_policy_folder_that_is_not_there(tmp_path: Path) -> None:
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    file, folder = tmp_path / "policy.yaml", tmp_path / "policy.d"
    file.write_text("")
    _with_policy(conf, file).set_override("policy_dirs", [str(folder)], "oslo_policy")
    with pytest.raises(ConfigError, match=r"policy\.d: No such file or directory"):
        policy.load(conf)
    folder.mkdir()
    assert policy.load(conf) is not None


def test_a_policy_with_rules_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"mine": "role:guest"\n"slaves:show": "rule:mine or rule:reader"\n')
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    assert policy.load(_with_policy(conf, file)) is not None


def _with_policy(conf, file):  # type: ignore[no-untyped-def]
    from oslo_policy import opts

    opts.set_defaults(conf)
    conf.set_override("policy_file", str(file), "oslo_policy")
    return conf


def test_find_is_what_the_check_uses(tmp_path: Path) -> None:
    conf = config.new(api__paste_config=str(tmp_path / "none.ini"))
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(ConfigError, match="there is no such file"):
        load.find(conf)

"""Plugins are loaded by name; one that is broken harms nobody else."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pytest

from labapi.agent.catalogue import GROUP, OURS, Catalogue, _examine
from labapi.exceptions import ConfigError, InvalidInput

Install = Callable[..., None]

HEAD = "from labapi.agent.plugins import Plugin, method\n"
GOOD = HEAD + "class P(Plugin):\n  @method('Do')\n  def do(self, run, parameters): pass\n"


def load(*names: str, allowed: tuple[str, ...] = ("*",), timeout: float = 60.0) -> Catalogue:
    return Catalogue(list(names), allowed=allowed, timeout=timeout)


@pytest.mark.parametrize(
    "broken",
    [
        "raise RuntimeError('broken')",
        "import sys\nsys.exit(3)",
        "import no_such_module",
        HEAD + "class P(Plugin):\n  def __init__(self): raise ValueError('broken')\n",
        "syntax error",
        "",
    ],
)
def test_a_plugin_that_fails_is_left_out_and_the_others_are(install: Install, broken: str) -> None:
    name = f"broken_{uuid.uuid4().hex}"
    install("two", {"bad": f"{name}:P", "good": "good_mod:P"}, **{name: broken}, good_mod=GOOD)
    assert set(load("bad", "good").described()) == {"good"}


def test_a_plugin_that_hangs_is_left_out_and_the_others_are(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    # A name of its own: what hangs in an import holds the lock of its module.
    name = f"hanging_{uuid.uuid4().hex}"
    hangs = "import time\ntime.sleep(600)"
    install("two", {"bad": f"{name}:P", "good": "good_mod:P"}, **{name: hangs}, good_mod=GOOD)
    for timeout in (0.3, 60.0):  # a busy machine may need longer for the good one, too
        if described := load("bad", "good", timeout=timeout).described():
            break
    assert set(described) == {"good"}
    assert f"{name}:P took longer than" in caplog.text


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("  pass", "no method that is marked"),
        ("  @method('x')\n  def Do(self, run, p): pass", "expected a name of a-z"),
        ("  @method('x')\n  def _do(self, run, p): pass", "expected a name of a-z"),
        (f"  @method('x')\n  def {'d' * 65}(self, run, p): pass", "at most 64"),
        ("  @method('  ')\n  def do(self, run, p): pass", "expected a description"),
        ("  @method(3)\n  def do(self, run, p): pass", "expected a description"),
        ("  @method('x', schema='y')\n  def do(self, run, p): pass", "schema as a dict"),
        (
            "  @method('x', schema={'type': 'thing'})\n  def do(self, run, p): pass",
            "cannot be used",
        ),
        ("  @method('x', schema={'a': object()})\n  def do(self, run, p): pass", "cannot be used"),
        (
            "  @method('x', schema={'$ref': 'http://127.0.0.1:1/s'})\n  def do(self, run, p): pass",
            "refers to 'http://127.0.0.1:1/s'",
        ),
        (
            "  @method('x', schema={'allOf': [{'$ref': 'file:///etc/passwd'}]})\n"
            "  def do(self, run, p): pass",
            "refers to 'file:///etc/passwd'",
        ),
    ],
)
def test_a_malformed_plugin_is_a_mistake_that_is_named(
    install: Install, body: str, problem: str
) -> None:
    install("one", {"bad": "bad_mod:P"}, bad_mod=f"{HEAD}class P(Plugin):\n{body}\n")
    with pytest.raises(ConfigError, match=problem):
        load("bad")


def test_a_class_that_is_no_plugin_is_refused(install: Install) -> None:
    install("one", {"bad": "bad_mod:P"}, bad_mod="class P: pass")
    with pytest.raises(ConfigError, match=r"bad_mod:P is not a labapi\.agent\.plugins\.Plugin"):
        load("bad")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["missing"], "no plugin 'missing' is installed; there are: .*linux_system"),
        (["linux_system", "linux_system"], "names 'linux_system' twice"),
        (["Linux"], "is not a name of a-z"),
        (["../x"], "is not a name of a-z"),
        ([""], "is not a name of a-z"),
    ],
)
def test_names_that_cannot_be_used_are_refused(
    install: Install, names: list[str], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(*names)


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    install("one", {"same": "one_mod:P"}, one_mod=GOOD)
    install("two", {"same": "two_mod:P"}, two_mod=GOOD)
    with pytest.raises(ConfigError, match="two plugins are named 'same': "):
        load("linux_system")


def test_what_is_not_allowed_is_left_out(install: Install) -> None:
    install("one", {"good": "good_mod:P"}, good_mod=GOOD)
    catalogue = load("linux_system", "good", allowed=("linux_system.p*", "other.*"))
    assert {p: set(m) for p, m in catalogue.described().items()} == {"linux_system": {"ping"}}
    with pytest.raises(InvalidInput, match="has no method 'run_shell'; it has: ping"):
        catalogue.find("linux_system", "run_shell")


def test_shipped_plugins_refuse_what_they_do_not_know(install: Install) -> None:
    catalogue = load("linux_system", "build_server", "http")
    described = catalogue.described()
    assert set(described["linux_system"]) == {"run_shell", "ping", "system_information"}
    assert set(described["build_server"]) == {"run_shell", "ping", "system_information", "build"}
    assert set(described["http"]) == {"get", "post"}
    for plugin, methods in described.items():
        for name, method in methods.items():
            assert method.schema is not None
            with pytest.raises(InvalidInput, match="parameters"):
                catalogue.find(plugin, name).check({"surplus": 1})


def test_the_schemas_of_shipped_plugins_can_be_used() -> None:
    # The agent examines those of others only.
    shipped = [entry for entry in entry_points(group=GROUP) if entry.module.startswith(OURS)]
    assert {entry.name for entry in shipped} == {"linux_system", "build_server", "http"}
    for entry in shipped:
        for name, method in entry.load()().methods().items():
            assert method.schema is not None
            _examine(method.schema, f"{entry.name}.{name}")


def test_what_an_idle_agent_does_without() -> None:
    program = """
import sys
import labapi.cmd.agent
from labapi.agent.catalogue import Catalogue
catalogue = Catalogue(["linux_system", "build_server", "http"], allowed=["*"], timeout=60)
catalogue.find("linux_system", "run_shell").check({"command": "true", "args": ["x"]})
heavy = {"cryptography", "jsonschema", "psutil", "requests", "sqlalchemy", "eventlet"}
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"command": "ls", "args": {"a": 1}}, r"parameters\.args: "),
        ({"command": 1}, r"parameters\.command: 1 is not of type 'string'"),
        ({"command": "x" * 5000}, r"parameters\.command: '"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named_in_few_words(
    install: Install, parameters: dict[str, Any], problem: str
) -> None:
    entry = load("linux_system").find("linux_system", "run_shell")
    with pytest.raises(InvalidInput, match=problem) as caught:
        entry.check(parameters)
    assert len(str(caught.value)) < 400

"""One addition of each kind that docs/developing.md describes, made to a copy of the project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """Lines that go into a file.

    :ivar after: the text behind which they stand; its last occurrence, or the end of the file
    """

    file: str
    lines: str
    after: str = ""

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text()
        at = text.rindex(self.after) + len(self.after) if self.after else len(text)
        path.write_text(text[:at] + self.lines + text[at:])


@dataclass(frozen=True)
class Addition:
    """One more of a kind.

    :ivar name: what stands for NAME on the page
    :ivar new: ``{file: its text}``
    :ivar show: Python that fails where the addition does not work
    """

    name: str
    new: dict[str, str] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    show: str = ""

    @property
    def files(self) -> set[str]:
        """The files that it touches."""
        return {*self.new, *(edit.file for edit in self.edits)}

    def apply(self, root: Path) -> None:
        for name, text in self.new.items():
            assert not (root / name).exists(), name
            (root / name).write_text(text)
        for edit in self.edits:
            edit.apply(root)


def _lab(ask: str) -> str:
    return f"""
import tempfile, webob
from pathlib import Path
from tests.lab import Lab
lab = Lab(Path(tempfile.mkdtemp())).start()
try:
    def ask(path, body=None):
        request = webob.Request.blank(path, remote_addr="127.0.0.1")
        if body is not None:
            request.method, request.content_type = "POST", "application/json"
            request.json_body = body
        return request.get_response(lab.app, catch_exc_info=True)
{ask}
finally:
    lab.stop()
"""


def _docs(file: str) -> Edit:
    return Edit(file, "\n<!-- one line for its users -->\n")


# Keyed by the heading in docs/developing.md.
ADDITIONS = {
    "A URL": Addition(
        name="racks",
        new={
            "labapi/api/controllers/racks.py": '''"""``/racks``: where hosts stand."""

import webob

from labapi.api.access import READER, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.views import racks as views
from labapi.db import racks
from labapi.db.session import Database


class Racks(Controller):
    """The controller of racks."""

    RULES = (rule("racks:show", READER, "See racks.", "GET /v2.1/racks"),)

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    def index(self, request: Request) -> webob.Response:
        """List racks."""
        request.query()
        self._policy.check(request.context, "racks:show")
        found = self._database.read(racks.names)
        return json_response({"racks": [views.rack(name) for name in found]})
''',
            "labapi/api/views/racks.py": '''"""How racks look from outside."""


def rack(name: str) -> dict[str, str]:
    """Return what is known of a rack."""
    return {"name": name}
''',
            "labapi/db/racks.py": '''"""Queries about racks."""

from sqlalchemy import Connection, select

from labapi.db.models import Host


def names(connection: Connection) -> list[str]:
    """Return the racks that hosts say they are in."""
    found = connection.execute(select(Host.meta)).scalars()
    return sorted({meta["rack"] for meta in found if "rack" in meta})
''',
            "tests/functional/gabbits/racks.yaml": """fixtures:
  - LabFixture

tests:
  - name: there are no racks
    GET: /v2.1/racks
    response_json_paths:
      $.racks: []
""",
        },
        edits=(
            Edit("labapi/api/routes.py", '    Route("/racks", Racks, {"GET": "index"}),\n', "),\n"),
            Edit(
                "labapi/api/routes.py",
                "from labapi.api.controllers.racks import Racks\n",
                "import Outputs\n",
            ),
            _docs("docs/api.md"),
        ),
        show=_lab("""
    assert ask("/v2.1/racks").json == {"racks": []}
    from labapi.api.policy import list_rules
    assert "racks:show" in [rule.name for rule in list_rules()]
"""),
    ),
    "A noun of the SDK": Addition(
        name="racks",
        new={
            "client/labapi_client/managers/racks.py": '''"""``lab.racks``: where hosts stand."""

from collections.abc import Iterator

import msgspec

from labapi_client.managers import Manager


class Rack(msgspec.Struct):
    """A rack."""

    name: str


class _Page(msgspec.Struct):
    racks: list[Rack]


class Racks(Manager):
    """The racks of the lab."""

    PATH = "/racks"
    NOUN = "rack"

    def list(self) -> Iterator[Rack]:
        """Yield racks."""
        for page in self._pages(self.PATH, {}):
            yield from page.decode(_Page).racks
''',
            "tests/client/test_racks.py": '''"""Racks, by the SDK."""


def test_there_are_none(lab):
    assert list(lab.racks.list()) == []
''',
        },
        edits=(
            Edit(
                "client/labapi_client/lab.py",
                "from labapi_client.managers.racks import Racks\n",
                "import Limits\n",
            ),
            Edit(
                "client/labapi_client/lab.py",
                "        self.racks = Racks(self)\n",
                "Limits(self)\n",
            ),
            _docs("docs/client.md"),
        ),
        show="""
import sys, pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/client/test_racks.py"]))
""",
    ),
    "A filter": Addition(
        name="stamp",
        new={
            "middleware/labapi_middleware/stamp.py": '''"""Say in every answer which lab it is from.

``[filter:stamp]``
    ``use = egg:labapi-middleware#stamp``

    ``lab = lab``
        What it says.
"""

from labapi_middleware.filter import Conf, Filter, Option, factory, text

LAB = Option("lab", "lab", text, "What the answer says.")


class Stamp(Filter):
    """Set ``X-Lab``."""

    name = "stamp"
    options = (LAB,)

    def __init__(self, app, conf: Conf) -> None:
        super().__init__(app, conf)
        self._lab = conf[LAB]

    def __call__(self, environ, start_response):
        """Add the header."""

        def respond(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Lab", self._lab)], exc_info)

        return self.app(environ, respond)


filter_factory = factory(Stamp)
''',
            "tests/middleware/test_stamp.py": "# its tests\n",
        },
        edits=(
            Edit("middleware/setup.py", '    "stamp",\n', '"sizelimit",\n'),
            _docs("docs/pipeline.md"),
        ),
        show="""
import pathlib, tempfile
from labapi.pipeline.check import check
file = pathlib.Path(tempfile.mkdtemp()) / "api-paste.ini"
shipped = pathlib.Path("etc/api-paste.ini").read_text()
section = "\\n[filter:stamp]\\nuse = egg:labapi-middleware#stamp\\nlab = this\\n"
file.write_text(shipped.replace("    request_id\\n", "    request_id\\n    stamp\\n") + section)
report = check.examine(str(file), {"listen": "127.0.0.1:8774"})
assert report.errors == (), report.errors
assert "stamp" in [line.part.name for line in check.lines(report.assembly)]
""",
    ),
    "A source of allow-lists": Addition(
        name="racks",
        new={
            "middleware/labapi_middleware/racks.py": '''"""The source ``racks``."""

from labapi_middleware.ip_whitelist import by_lookup


def lookup(environ):
    """Return the metadata of what the request is about."""
    return {"allow": "192.0.2.1"}


source = by_lookup(lookup)
''',
            "tests/middleware/test_racks.py": "# its tests\n",
        },
        edits=(
            Edit(
                "middleware/setup.py",
                '            "racks = labapi_middleware.racks:source",\n',
                'SwiftProxy",\n',
            ),
            _docs("docs/ip_whitelist.md"),
        ),
        show="""
from labapi_middleware.ip_whitelist import filter_factory
app = filter_factory({}, source="racks")(lambda environ, start: [start("200 OK", []) or b""])
said = []
list(app({"REMOTE_ADDR": "192.0.2.9", "REQUEST_METHOD": "GET", "PATH_INFO": "/"},
         lambda status, headers, exc_info=None: said.append(status)))
assert said == ["403 Forbidden"], said
""",
    ),
    "A plugin": Addition(
        name="lights",
        new={
            "labapi/agent/plugins/lights.py": '''"""The plugin ``lights``."""

from labapi.agent.plugins import Plugin, Run, method


class Lights(Plugin):
    """Switches lights."""

    @method("Switch a light. on: whether it shines")
    def switch(self, run: Run, parameters):
        """Say what it does now."""
        return {"on": parameters.get("on", True)}
''',
            "tests/unit/agent/plugins/test_lights.py": "# its tests\n",
        },
        edits=(
            Edit(
                "setup.py",
                '            "lights = labapi.agent.plugins.lights:Lights",\n',
                'http:Http",\n',
            ),
            _docs("docs/plugins.md"),
        ),
        show="""
from labapi.agent.catalogue import Catalogue
found = Catalogue(["lights"], allowed=["*"], timeout=60).described()
assert list(found["lights"]) == ["switch"], found
""",
    ),
    "A liveness driver": Addition(
        name="optimist",
        new={
            "labapi/servicegroup/optimist.py": '''"""Liveness for optimists."""

from labapi.servicegroup.driver import Liveness


class Optimist(Liveness):
    """Believes that everybody lives."""

    def is_up(self, row, now):
        """Say yes."""
        return True

    def heard(self, hosts, now):
        """Do nothing."""

    def close(self):
        """Do nothing."""
''',
        },
        edits=(
            Edit(
                "setup.py",
                '            "optimist = labapi.servicegroup.optimist:Optimist",\n',
                'tooz:Tooz",\n',
            ),
            Edit("tests/unit/test_servicegroup.py", "# its tests\n"),
            _docs("docs/deploy.md"),
        ),
        show="""
from labapi import config
from labapi.servicegroup import driver
conf = config.new(servicegroup__driver="optimist")
conf([], project="labapi", default_config_files=[])
assert driver.load(conf).is_up(None, None)
""",
    ),
    "A scheduler filter": Addition(
        name="parity",
        new={
            "labapi/scheduler/filters/parity.py": '''"""The filter ``parity``."""

from labapi.scheduler.filters.base import Filter


class Parity(Filter):
    """Lets hosts pass whose number is even."""

    name = "parity"

    def passes(self, host, spec):
        """Say whether it is."""
        return host.id % 2 == 0
''',
        },
        edits=(
            Edit(
                "setup.py",
                '            "parity = labapi.scheduler.filters.parity:Parity",\n',
                'free_slots = labapi.scheduler.filters.free_slots:FreeSlots",\n',
            ),
            Edit("labapi/config.py", '            "parity",\n', '            "retry",\n'),
            Edit("tests/unit/scheduler/test_filters.py", "# its table\n"),
            _docs("docs/scheduler.md"),
        ),
        show="""
from labapi import config
from labapi.scheduler import driver
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import RequestSpec
conf = config.new()
conf([], project="labapi", default_config_files=[])
hosts = HostStates(HostState(number, str(number), f"h-{number}", "{}", 1) for number in (1, 2))
explained = driver.load(conf).explain(RequestSpec(), hosts)
assert [host.host for host in explained.hosts] == ["h-2"], explained
assert explained.turned_away == {"parity": 1}, explained
""",
    ),
    "A column of a case": Addition(
        name="mood",
        new={
            "labapi/db/migrations/versions/9999_mood.py": '''"""How a case feels."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("testcases", sa.Column("mood", sa.String(16)))
''',
        },
        edits=(
            Edit(
                "labapi/db/models.py",
                "    mood: Mapped[str | None] = mapped_column(String(16))\n",
                "    output_size: Mapped[int] = mapped_column(BigInteger, default=0)\n",
            ),
            Edit(
                "labapi/api/views/testcases.py",
                "    mood: str | None = None\n",
                "    output_size: int = 0\n",
            ),
            Edit(
                "client/labapi_client/managers/testcases.py",
                "    mood: str | None = None\n",
                "    output_size: int = 0\n",
            ),
            _docs("docs/api.md"),
        ),
        show=_lab("""
    body = {"plugin": "linux_system", "host": "lab-1", "method": "run_shell",
            "parameters": {"command": "true"}}
    case = ask("/v2.1/testcases?wait=60", body).json
    assert case.get("state") == "finished", case
    assert case["mood"] is None, case
    assert "mood" in ask("/v2.1/testcases").json["testcases"][0]
"""),
    ),
    "A message": Addition(
        name="Applaud",
        edits=(
            Edit(
                "labapi/rpc/messages.py",
                '''class Applaud(Message, frozen=True, kw_only=True, tag="applaud"):
    """Conductor → agent: well done."""

    signed: ClassVar[bool] = True

    host: str


''',
                "    version: int = VERSION\n\n\n",
            ),
            Edit("labapi/conductor/dispatch.py", "\n# sends it\n"),
            Edit("labapi/agent/intake.py", "\n# takes it in\n"),
        ),
        show="""
from labapi.rpc.messages import Applaud, decode, encode
assert decode(encode(Applaud(host="lab-1"))) == Applaud(host="lab-1")
""",
    ),
    "A command": Addition(
        name="racks",
        new={
            "labapi/cmd/manage_racks.py": '''"""``labapi-manage rack …``."""

from labapi.cmd.manage import Operator


class RackList(Operator):
    """List racks."""

    def take_action(self, parsed_args):
        """Say that there are none."""
        self.app.stdout.write("no racks\\n")
''',
        },
        edits=(
            Edit(
                "setup.py",
                '            "rack_list = labapi.cmd.manage_racks:RackList",\n',
                'PipelineShow",\n',
            ),
            _docs("docs/deploy.md"),
        ),
        show="""
from labapi.cmd.manage import Manage
assert Manage().run(["rack", "list"]) == 0
""",
    ),
    "A command of lab": Addition(
        name="racks",
        new={
            "client/labapi_client/cli/racks.py": '''"""``lab rack list``."""

from labapi_client.cli.command import LabLister


class RackList(LabLister):
    """List racks."""

    def take_action(self, parsed_args):
        """Say that there is one."""
        return ("rack",), [("r7",)]
''',
            "tests/client/cli/test_racks.py": "# its tests\n",
        },
        edits=(
            Edit(
                "client/setup.py",
                '    "rack_list": "racks:RackList",\n',
                '"plugin:PluginList",\n',
            ),
            _docs("docs/cli.md"),
            Edit("client/lab.1", '.\\" made anew\n'),
        ),
        show="""
from labapi_client.cli.shell import Shell
assert Shell().run(["rack", "list"]) == 0
""",
    ),
}

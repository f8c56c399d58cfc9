"""The table of the API: what each URL answers to.

A row is a path, the controller that answers there, and its action for each HTTP method. HEAD works
wherever GET does, and every other method gets a 405 that names these.
"""

from __future__ import annotations

from labapi.api.controllers.groups import Groups
from labapi.api.controllers.health import Health
from labapi.api.controllers.host_health import HostHealth
from labapi.api.controllers.leases import Leases
from labapi.api.controllers.limits import Limits
from labapi.api.controllers.metadata import Metadata
from labapi.api.controllers.outputs import Outputs
from labapi.api.controllers.reports import Reports
from labapi.api.controllers.services import Services
from labapi.api.controllers.slaves import Slaves
from labapi.api.controllers.testcases import TestCases
from labapi.api.controllers.testplans import TestPlans
from labapi.api.router import Route
from labapi.api.versions import Versions

_ITEM = {"GET": "show", "PUT": "update", "DELETE": "delete"}

ROUTES = (
    Route("/", Versions, {"GET": "show"}),
    Route("/slaves", Slaves, {"GET": "index"}),
    Route("/slaves/detail", Slaves, {"GET": "detail"}),
    Route("/slaves/{slave_id}", Slaves, {"GET": "show", "DELETE": "delete"}),
    Route("/slaves/{slave_id}/plugins", Slaves, {"GET": "plugins"}),
    Route("/slaves/{slave_id}/health", HostHealth, {"PUT": "update"}),
    Route("/slaves/{slave_id}/metadata", Metadata, {"GET": "index", "PUT": "replace"}),
    Route("/slaves/{slave_id}/metadata/{key}", Metadata, _ITEM),
    Route("/testcases", TestCases, {"GET": "index", "POST": "create"}),
    Route("/testcases/{testcase_id}", TestCases, {"GET": "show", "DELETE": "cancel"}),
    Route("/testcases/{testcase_id}/output", Outputs, {"GET": "show"}),
    Route("/testplans", TestPlans, {"GET": "index", "POST": "create"}),
    Route("/testplans/{testplan_id}", TestPlans, {"GET": "show", "DELETE": "cancel"}),
    Route("/testplans/{testplan_id}/rerun", TestPlans, {"POST": "rerun"}),
    Route("/testplans/{testplan_id}/report.xml", Reports, {"GET": "xml"}),
    Route("/testplans/{testplan_id}/report.html", Reports, {"GET": "html"}),
    Route("/testplans/{testplan_id}/report.txt", Reports, {"GET": "text"}),
    Route("/groups", Groups, {"GET": "index", "POST": "create"}),
    Route("/groups/{group_id}", Groups, _ITEM),
    Route("/groups/{group_id}/hosts/{host}", Groups, {"PUT": "add_host", "DELETE": "remove_host"}),
    Route("/leases", Leases, {"GET": "index", "POST": "create"}),
    Route("/leases/{lease_id}", Leases, _ITEM),
    Route("/services", Services, {"GET": "index"}),
    Route("/services/{service_id}", Services, {"PUT": "update"}),
    Route("/limits", Limits, {"GET": "index"}),
    Route("/health", Health, {"GET": "show"}),
)

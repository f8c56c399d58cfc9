"""The example on the page about test plans runs."""

from __future__ import annotations

import re
from pathlib import Path

import webob

from tests.lab import ROOT, Lab, ask
from tests.processes import until

PAGE = (Path(ROOT) / "docs" / "plans.md").read_text()


def test_the_example_runs(lab: Lab) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    request = webob.Request.blank(
        "/v2.1/testplans",
        method="POST",
        body=example.encode(),
        content_type="application/yaml",
        remote_addr="127.0.0.1",
    )
    made = request.get_response(lab.app)
    assert made.status_int == 202, made.text
    path = f"/testplans/{made.json['id']}"
    until(lambda: ask(lab.app, path).json["state"] == "finished")
    plan = ask(lab.app, path).json
    assert plan["result"] == "PASS", plan
    step = plan["testplan"]["2"]["Serial-Step-1"]
    assert {"1", "2[WORD=one]", "2[WORD=two]", "3[lab-1]"} <= step.keys()

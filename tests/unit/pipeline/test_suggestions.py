"""What cannot be found is named as the file writes it, with what may be meant by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pipeline.shipped import edited, findings, said

USE = "egg:labapi-middleware#sizelimit"
IN_SECTION = "[filter:sizelimit]: use: "
V = "[pipeline:v2.1]: pipeline: there is no section [filter:sizelimit]; "
MISTAKES = {
    "a kind in the plural": (
        ("[filter:sizelimit]", "[filters:sizelimit]"),
        V + "[filters:sizelimit] has to be [filter:sizelimit]",
    ),
    "a kind with a capital": (
        ("[filter:sizelimit]", "[Filter:sizelimit]"),
        V + "[Filter:sizelimit] has to be [filter:sizelimit]",
    ),
    "a blank for a colon": (
        ("[filter:sizelimit]", "[filter sizelimit]"),
        V + "[filter sizelimit] has to be [filter:sizelimit]",
    ),
    "a semicolon for a colon": (
        ("[filter:sizelimit]", "[filter;sizelimit]"),
        V + "[filter;sizelimit] has to be [filter:sizelimit]",
    ),
    "a hyphen for a colon": (
        ("[filter:sizelimit]", "[filter-sizelimit]"),
        V + "[filter-sizelimit] has to be [filter:sizelimit]",
    ),
    "a kind in quotation marks": (
        ("[filter:sizelimit]", "['filter:sizelimit']"),
        V + "['filter:sizelimit'] has to be [filter:sizelimit]",
    ),
    "no name that Paste takes for a URI": (
        ("[filter:sizelimit]", "[filter:egg:sizelimit]"),
        V + "did you mean 'ratelimit'?",
    ),
    "no kind": (
        ("[filter:sizelimit]", "[sizelimit]"),
        V + "[sizelimit] has to be [filter:sizelimit]",
    ),
    "use with a capital": (
        (f"use = {USE}", f"Use = {USE}"),
        IN_SECTION + "the section does not say what to use; is 'Use' meant to be 'use'?",
    ),
    "pipeline misspelt": (
        ("pipeline = request_id", "piepline = request_id"),
        "[pipeline:root]: piepline: a pipeline has no other option than 'pipeline'",
    ),
    "a pipeline in the plural": (
        ("[pipeline:root]", "[pipelines:root]"),
        "[composite:main]: /: there is no section [app:root]; [pipelines:root] has to be"
        " [pipeline:root]",
    ),
    "egg: left out": (
        (USE, "labapi-middleware#sizelimit"),
        IN_SECTION + "there is no section [filter:labapi-middleware#sizelimit]; did you mean"
        f" '{USE}'?",
    ),
    "a name alone": (
        (USE, "sizelimit"),
        IN_SECTION + f"'sizelimit' leads back to [filter:sizelimit] itself; did you mean '{USE}'?",
    ),
    "another name alone": (
        (USE, "sizelimits"),
        IN_SECTION + "there is no section [filter:sizelimits]; did you mean 'sizelimit'?",
    ),
    "a name alone that no section has": (
        (USE, "audti"),
        IN_SECTION + "there is no section [filter:audti]; did you mean 'audit'?",
    ),
    "a name that only a distribution has": (
        (USE, "correlation_id"),
        IN_SECTION + "there is no section [filter:correlation_id]; did you mean"
        " 'egg:oslo.middleware#correlation_id'?",
    ),
    "quotation marks": (
        (USE, f'"{USE}"'),
        IN_SECTION + f'"{USE}": take away the quotation marks',
    ),
    "no name of a filter": (
        (USE, "egg:labapi-middleware"),
        IN_SECTION + "'egg:labapi-middleware': expected the name of a filter,"
        " egg:labapi-middleware#NAME; it has access_log, audit, ",
    ),
    "a filter of another distribution": (
        (USE, "egg:labapi#sizelimit"),
        IN_SECTION + f"'labapi' has no filter 'sizelimit'; did you mean '{USE}'?",
    ),
    "an attribute": (
        (USE, "call:labapi_middleware.sizelimit:filter_factry"),
        IN_SECTION + "'call:labapi_middleware.sizelimit:filter_factry' cannot be loaded:"
        " 'labapi_middleware.sizelimit' has no 'filter_factry'; did you mean 'filter_factory'?",
    ),
    "no attribute": (
        (USE, "call:labapi_middleware.sizelimit"),
        IN_SECTION + "'call:labapi_middleware.sizelimit': expected module:attribute",
    ),
    "a name to put in": (
        ("= 1048576", "= %(heer)s"),
        "[filter:sizelimit]: max_request_body_size: there is no 'heer' to put in (write %% for a"
        " per cent sign); did you mean 'here'?",
    ),
    "a network with host bits": (
        ("allow =\n", "allow = 10.1.2.3/8\n"),
        "[filter:ip_whitelist]: allow: '10.1.2.3/8': '10.1.2.3/8' is not an address or network"
        " (10.1.2.3/8 has host bits set); did you mean '10.0.0.0/8'?",
    ),
    "a file that is not there": (
        (USE, "config:none.ini#sizelimit"),
        IN_SECTION + "{folder}/none.ini: No such file or directory",
    ),
    "what Paste itself reads": (
        ("[composite:main]", f"[DEFAULT]\nuse = {USE}\n[composite:main]"),
        "[composite:main]: use: [DEFAULT] has it too, and Paste takes that one"
        f" ('{USE}') and not this ('egg:labapi#urlmap'); remove it from [DEFAULT]",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(tmp_path: Path, name: str) -> None:
    change, expected = MISTAKES[name]
    text = edited(change)
    found = said(text, tmp_path)
    assert any(line.startswith(expected.format(folder=tmp_path)) for line in found), found
    assert all(finding.fatal for finding in findings(text, tmp_path))

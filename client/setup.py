"""Packaging of labapi-client: the SDK and the command line, without the server."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

# The commands of lab, which are those of openstack lab, too: words joined by "_".
COMMANDS = {
    "group_add": "group:GroupAdd",
    "group_create": "group:GroupCreate",
    "group_delete": "group:GroupDelete",
    "group_list": "group:GroupList",
    "group_remove": "group:GroupRemove",
    "group_set": "group:GroupSet",
    "group_show": "group:GroupShow",
    "lease_create": "lease:LeaseCreate",
    "lease_delete": "lease:LeaseDelete",
    "lease_list": "lease:LeaseList",
    "lease_renew": "lease:LeaseRenew",
    "lease_run": "lease:LeaseRun",
    "lease_show": "lease:LeaseShow",
    "limits": "limits:Limits",
    "plan_cancel": "plan:PlanCancel",
    "plan_check": "plan:PlanCheck",
    "plan_list": "plan:PlanList",
    "plan_report": "plan:PlanReport",
    "plan_rerun": "plan:PlanRerun",
    "plan_run": "plan:PlanRun",
    "plan_show": "plan:PlanShow",
    "plan_wait": "plan:PlanWait",
    "plugin_list": "plugin:PluginList",
    "run": "run:Run",
    "service_disable": "service:ServiceDisable",
    "service_drain": "service:ServiceDrain",
    "service_enable": "service:ServiceEnable",
    "service_list": "service:ServiceList",
    "slave_bench": "slave:SlaveBench",
    "slave_list": "slave:SlaveList",
    "slave_set": "slave:SlaveSet",
    "slave_show": "slave:SlaveShow",
    "slave_unbench": "slave:SlaveUnbench",
    "slave_unset": "slave:SlaveUnset",
    "testcase_cancel": "testcase:TestcaseCancel",
    "testcase_list": "testcase:TestcaseList",
    "testcase_output": "testcase:TestcaseOutput",
    "testcase_rerun": "testcase:TestcaseRerun",
    "testcase_run": "testcase:TestcaseRun",
    "testcase_show": "testcase:TestcaseShow",
    "testcase_wait": "testcase:TestcaseWait",
    "testcase_why": "testcase:TestcaseWhy",
}
CLI = "labapi_client.cli"

setup(
    name="labapi-client",
    version=VERSION,
    description="SDK and command line of labapi, a control plane for test labs",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["labapi_client*"]),
    package_data={"labapi_client": ["py.typed"]},
    install_requires=[
        "argcomplete>=3.3",
        "cliff>=4.8",
        "jsonschema>=4.23",
        "keystoneauth1>=5.10",
        "msgspec>=0.19",
        "PyYAML>=6",
        "urllib3>=2.2",
    ],
    extras_require={"openstack": ["python-openstackclient>=7"]},
    entry_points={
        "console_scripts": ["lab = labapi_client.cli.program:main"],
        "labapi_client.commands": [
            "complete = labapi_client.cli.completion:Complete",
            *(f"{name} = {CLI}.{target}" for name, target in COMMANDS.items()),
        ],
        "openstack.cli.extension": ["lab = labapi_client.cli.openstack"],
        "openstack.lab.v2": [f"lab_{name} = {CLI}.{target}" for name, target in COMMANDS.items()],
    },
)

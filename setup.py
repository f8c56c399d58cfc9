"""Packaging of labapi. Filters are a distribution of their own, in ``middleware/``."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

setup(
    name="labapi",
    version=VERSION,
    description="A control plane for test labs: an HTTP API that operators assemble from filters",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["labapi*"]),
    package_data={"labapi": ["py.typed", "db/migrations/script.py.mako"]},
    data_files=[("etc/labapi", ["etc/api-paste.ini"])],
    install_requires=[
        f"labapi-middleware=={VERSION}",
        "PasteDeploy>=3.1",
        "WebOb>=1.8.9",
        "Routes>=2.5.1",
        "eventlet>=0.41",
        "cheroot>=11",
        "kombu>=5.5",
        "msgspec>=0.19",
        "SQLAlchemy>=2.0.43",
        "PyMySQL[rsa]>=1.2",  # with what the passwords of MySQL's own default need
        "alembic>=1.14",
        "bcrypt>=4.1",
        "cliff>=4.8",
        "keystonemiddleware>=12",
        "oslo.config>=10",
        "oslo.context>=5",
        "oslo.log>=7",
        "oslo.middleware>=8",
        "oslo.policy>=5",
        "PyNaCl>=1.5",
        "stevedore>=5.4",
        "jsonschema>=4.23",
        "psutil>=6",
        "requests>=2.32",
    ],
    extras_require={
        # The backend's own client comes with tooz's extras: tooz[redis], tooz[memcached], …
        "tooz": ["tooz>=6.3"],
        "test": [
            "pytest>=8",
            "pytest-cov>=6",
            "gabbi>=4",
            "granian>=2",  # these three: attacks on each server that docs/deploy.md names
            "gunicorn>=23",
            "pyuwsgi>=2.0.28",  # uWSGI as a wheel: nothing has to be compiled
            "hypothesis>=6",
            "trustme>=1.2",
            "ruff>=0.15",
            "mypy>=1.15",
            "import-linter>=2.1",
            "setuptools>=77",  # the example of a filter is built as its author would build it
            f"labapi-middleware[redis,memcached]=={VERSION}",
            "tooz[memcached,redis]>=6.3",
        ],
    },
    entry_points={
        "console_scripts": [
            "labapi-all = labapi.cmd.all:main",
            "labapi-api = labapi.cmd.api:main",
            "labapi-conductor = labapi.cmd.conductor:main",
            "labapi-agent = labapi.cmd.agent:main",
            "labapi-manage = labapi.cmd.manage:main",
        ],
        "paste.app_factory": [
            "api = labapi.api.app:app_factory",
            "versions = labapi.api.versions:app_factory",
        ],
        "paste.composite_factory": ["urlmap = labapi.pipeline.urlmap:composite_factory"],
        "labapi.plugins": [
            "linux_system = labapi.agent.plugins.linux_system:LinuxSystem",
            "build_server = labapi.agent.plugins.build_server:BuildServer",
            "http = labapi.agent.plugins.http:Http",
        ],
        "labapi.manage": [
            "db_upgrade = labapi.cmd.manage:DBUpgrade",
            "db_current = labapi.cmd.manage:DBCurrent",
            "db_history = labapi.cmd.manage:DBHistory",
            "db_purge = labapi.cmd.manage_purge:DBPurge",
            "agent_accept = labapi.cmd.manage_agents:AgentAccept",
            "agent_add = labapi.cmd.manage_agents:AgentAdd",
            "agent_remove = labapi.cmd.manage_agents:AgentRemove",
            "key_create = labapi.cmd.manage_keys:KeyCreate",
            "dead-letter_list = labapi.cmd.manage_dead_letters:DeadLetterList",
            "dead-letter_purge = labapi.cmd.manage_dead_letters:DeadLetterPurge",
            "service_list = labapi.cmd.manage_services:ServiceList",
            "service_enable = labapi.cmd.manage_services:ServiceEnable",
            "service_disable = labapi.cmd.manage_services:ServiceDisable",
            "service_drain = labapi.cmd.manage_services:ServiceDrain",
            "pipeline_check = labapi.cmd.manage_pipeline:PipelineCheck",
            "pipeline_show = labapi.cmd.manage_pipeline:PipelineShow",
            "user_set = labapi.cmd.manage_users:UserSet",
        ],
        "labapi.servicegroup": [
            "db = labapi.servicegroup.db:Database",
            "tooz = labapi.servicegroup.tooz:Tooz",
        ],
        "oslo.config.opts": ["labapi = labapi.config:list_opts"],
        "oslo.policy.policies": ["labapi = labapi.api.policy:list_rules"],
    },
)

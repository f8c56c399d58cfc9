"""``openstack lab …``: what python-openstackclient asks a plugin for.

The service is found in Keystone's catalogue by its type, ``test-lab``.
"""

from __future__ import annotations

import argparse
from typing import Any

API_NAME = "lab"
API_VERSION_OPTION = "os_lab_api_version"
API_VERSIONS = {"2": "labapi_client.cli.openstack"}
DEFAULT_API_VERSION = "2"


def make_client(instance: Any) -> Any:
    """Return the lab of a client manager's session; it is asked when a command is."""
    from labapi_client import connect

    return connect(
        session=instance.session,
        region_name=instance.region_name,
        interface=instance.interface,
    )


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add no option: each command has --url."""
    return parser

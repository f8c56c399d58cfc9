"""The policy: the rules of all controllers in one list, overridable in ``policy.yaml``."""

from __future__ import annotations

from oslo_config import cfg

from labapi.api.access import ROLES, Policy, Rule
from labapi.api.routes import ROUTES


def load(conf: cfg.ConfigOpts) -> Policy:
    """Return the policy as ``policy.yaml`` has it now.

    :raises ConfigError: the file cannot be used; the text has a line for everything that is wrong
    """
    return Policy(conf, list_rules())


def list_rules() -> list[Rule]:
    """Return all rules, for ``oslopolicy-sample-generator`` as well."""
    controllers = dict.fromkeys(route.controller for route in ROUTES)
    return [*ROLES, *(rule for controller in controllers for rule in controller.RULES)]

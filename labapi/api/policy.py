"""Who may do what: oslo.policy with defaults in code, overridable in ``policy.yaml``."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg
from oslo_policy import opts, policy

from labapi.context import RequestContext
from labapi.exceptions import ConfigError, Forbidden

_REFERENCE = re.compile(r"\brule:([^\s()]+)")
DECISIONS = 10_000  # decisions that are kept

READER = "rule:reader"
MEMBER = "rule:member"
ADMIN = "rule:admin"
OWN = "project_id:%(project_id)s"


def _rule(name: str, check: str, description: str, *operations: tuple[str, str]) -> Any:
    return policy.DocumentedRuleDefault(
        name, check, description, [{"method": m, "path": path} for m, path in operations]
    )


RULES = (
    policy.RuleDefault("admin", "role:admin", "Who may do everything."),
    policy.RuleDefault("member", "role:member or rule:admin", "Who may run cases."),
    policy.RuleDefault("reader", "role:reader or rule:member", "Who may look."),
    _rule(
        "slaves:show",
        READER,
        "See hosts and their catalogues.",
        ("GET", "/v2.1/slaves"),
        ("GET", "/v2.1/slaves/detail"),
        ("GET", "/v2.1/slaves/{slave_id}"),
        ("GET", "/v2.1/slaves/{slave_id}/metadata"),
        ("GET", "/v2.1/slaves/{slave_id}/metadata/{key}"),
    ),
    _rule(
        "slaves:set_metadata",
        ADMIN,
        "Change a host's metadata.",
        ("PUT", "/v2.1/slaves/{slave_id}/metadata"),
        ("PUT", "/v2.1/slaves/{slave_id}/metadata/{key}"),
        ("DELETE", "/v2.1/slaves/{slave_id}/metadata/{key}"),
    ),
    _rule("testcases:create", MEMBER, "Run a case.", ("POST", "/v2.1/testcases")),
    _rule(
        "testcases:show",
        f"{READER} and ({OWN} or {ADMIN})",
        "See a case and its output.",
        ("GET", "/v2.1/testcases"),
        ("GET", "/v2.1/testcases/{testcase_id}"),
        ("GET", "/v2.1/testcases/{testcase_id}/output"),
    ),
    _rule(
        "testcases:show_all_projects",
        ADMIN,
        "See the cases of all projects in the list.",
        ("GET", "/v2.1/testcases"),
    ),
    _rule(
        "testcases:cancel",
        f"{MEMBER} and ({OWN} or {ADMIN})",
        "Cancel a case.",
        ("DELETE", "/v2.1/testcases/{testcase_id}"),
    ),
    _rule("services:show", ADMIN, "See services.", ("GET", "/v2.1/services")),
    _rule("health:show", ADMIN, "See what the API depends on.", ("GET", "/v2.1/health")),
)


class Policy:
    """Decides, by the rules as they are when this object is made.

    A decision depends on nothing but its arguments and takes oslo.policy 0.2 ms, so it is kept.

    :param conf: its ``[oslo_policy]`` group says where ``policy.yaml`` is
    :raises ConfigError: the file cannot be used; the text has a line for everything that is wrong
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        opts.set_defaults(conf)
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.register_defaults(RULES)
        self._load(conf.oslo_policy.policy_file)
        # Otherwise it would look for a change in the middle of a request.
        self._enforcer.use_conf = False
        self._decide = functools.lru_cache(maxsize=DECISIONS)(self._ask)

    def _load(self, file: str) -> None:
        try:
            self._enforcer.load_rules()
        except (ValueError, TypeError, AttributeError, OSError, cfg.Error) as error:
            # A document that is no mapping shows as one of the middle two.
            reason = " ".join(str(error).split())
            raise ConfigError(f"{file}: expected lines 'rule: check' in YAML ({reason})") from error
        wrong = [f"{file}: {problem}" for problem in self._problems()]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _problems(self) -> Iterator[str]:
        """Return what is wrong with rules that can be read."""
        known = [rule.name for rule in RULES]
        used = " ".join(str(rule.check) for rule in self._enforcer.file_rules.values())
        for name, rule in self._enforcer.file_rules.items():
            if name not in known and f"rule:{name}" not in used:
                guess = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean '{guess[0]}'?" if guess else ""
                yield f"{name}: nothing asks for this rule{hint}"
            # The parser takes what it does not understand for "nobody".
            if str(rule.check) == "!" and rule.check_str.strip() != "!":
                yield f"{name}: '{rule.check_str}' is not a check; expected one such as role:member"
        defined = self._enforcer.rules
        missing = False
        for name, check in defined.items():
            for other in _REFERENCE.findall(str(check)):
                if other not in defined:
                    missing = True
                    yield f"{name}: there is no rule '{other}'"
        if not missing and not self._enforcer.check_rules():
            yield "a rule refers to itself"

    def allows(self, context: RequestContext, action: str, owner: str | None = None) -> bool:
        """Say whether a caller may do something.

        :param owner: id of the project that owns what it is done to
        """
        return self._decide(context.user_id, context.project_id, context.roles, action, owner)

    def _ask(
        self,
        user_id: str,
        project_id: str | None,
        roles: tuple[str, ...],
        action: str,
        owner: str | None,
    ) -> bool:
        credentials = {"user_id": user_id, "project_id": project_id, "roles": list(roles)}
        return bool(
            self._enforcer.enforce(action, {"project_id": owner}, credentials, do_raise=False)
        )

    def check(self, context: RequestContext, action: str, owner: str | None = None) -> None:
        """Return if a caller may do something.

        :raises Forbidden: the caller may not
        """
        if not self.allows(context, action, owner):
            roles = ", ".join(context.roles) or "none"
            raise Forbidden(f"the policy does not allow {action} with your roles ({roles})")


def list_rules() -> tuple[Any, ...]:
    """Return all rules for ``oslopolicy-sample-generator``."""
    return RULES

"""Who may do what: how rules are written, and who decides by them (oslo.policy)."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log
from oslo_policy import opts, policy

from labapi.context import RequestContext
from labapi.exceptions import ConfigError, Forbidden
from labapi.pipeline.check.finding import nearest, one_line, printable

LOG = log.getLogger(__name__)

_REFERENCE = re.compile(r"\brule:([^\s()]+)")
_OF_OWNER = re.compile(r"%\((.*?)\)")
# Kinds of checks that ask other rules or other servers.
_ELSEWHERE = ("rule", "http", "https")
DECISIONS = 10_000  # decisions that are kept

Rule = policy.RuleDefault

READER = "rule:reader"
MEMBER = "rule:member"
ADMIN = "rule:admin"
OWN = "project_id:%(project_id)s"

ROLES = (
    Rule("admin", "role:admin", "Administrators, who may do everything."),
    Rule("member", "role:member or rule:admin", "Members, who may run cases."),
    Rule(
        "reader",
        "role:reader or rule:member",
        "Readers, who may see hosts and the cases of their project.",
    ),
)


def rule(name: str, check: str, description: str, *operations: str) -> Rule:
    """Return a rule with its default, for the ``RULES`` of the controller that asks for it.

    :param operations: the requests that ask for it, such as ``GET /v2.1/slaves``
    """
    pairs = [operation.split(" ", 1) for operation in operations]
    documented: Rule = policy.DocumentedRuleDefault(
        name, check, description, [{"method": method, "path": path} for method, path in pairs]
    )
    return documented


class Policy:
    """Decides by the rules as they were when this object was made.

    A decision depends on nothing but its arguments and takes oslo.policy 0.2 ms, so it is kept.

    :param conf: its ``[oslo_policy]`` group says where ``policy.yaml`` is
    :param rules: all that may be asked for, with their defaults
    :raises ConfigError: the file cannot be used; the text has a line for everything that is wrong
    """

    def __init__(self, conf: cfg.ConfigOpts, rules: Sequence[Rule]) -> None:
        opts.set_defaults(conf)
        self._known = [rule.name for rule in rules]
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.register_defaults(rules)
        self._load(_named(conf))
        # Otherwise it would look for a change in the middle of a request.
        self._enforcer.use_conf = False
        self._decide = functools.lru_cache(maxsize=DECISIONS)(self._ask)

    def _load(self, file: str) -> None:
        try:
            self._enforcer.load_rules()
        except (ValueError, TypeError, AttributeError, OSError, cfg.Error) as error:
            # A document that is no mapping shows as one of the middle two.
            reason = printable(" ".join(str(error).split()))
            raise ConfigError(f"{file}: expected lines 'rule: check' in YAML ({reason})") from error
        wrong = [printable(f"{file}: {problem}") for problem in self._problems()]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _problems(self) -> Iterator[str]:
        """Return what is wrong with rules that can be read."""
        used = " ".join(str(rule.check) for rule in self._enforcer.file_rules.values())
        for name, rule in self._enforcer.file_rules.items():
            if not isinstance(name, str) or not isinstance(rule.check_str, str):
                yield f"{name}: expected a line 'rule: check'"
                continue
            for problem in filter(None, map(_cannot_be_asked, _leaves(rule.check))):
                yield f"{name}: {problem}"
            if name not in self._known and f"rule:{name}" not in used:
                yield f"{name}: nothing asks for this rule{nearest(name, self._known)}"
            # The parser takes what it does not understand for "nobody".
            if str(rule.check) == "!" and rule.check_str.strip() != "!":
                yield f"{name}: '{rule.check_str}' is not a check; expected one such as role:member"
        defined = self._enforcer.rules
        missing = False
        for name, check in defined.items():
            for other in _REFERENCE.findall(str(check)):
                if other not in defined:
                    missing = True
                    yield f"{name}: there is no rule '{other}'{nearest(other, defined)}"
        if not missing and not self._enforcer.check_rules():
            yield "a rule refers to itself"

    def allows(self, context: RequestContext, action: str, owner: str | None = None) -> bool:
        """Say whether a caller may do something.

        :param owner: id of the project that owns the object of the action
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
        """Check that a caller may do something.

        :raises Forbidden: the caller may not
        """
        if not self.allows(context, action, owner):
            roles = ", ".join(context.roles) or "none"
            LOG.warning(
                "denied: the policy's rule for %s is %r; user %s of project %s has the roles %s",
                action,
                str(self._enforcer.rules[action]),
                context.user_id,
                context.project_id,
                roles,
            )
            raise Forbidden(f"the policy does not allow {action} with your roles ({roles})")

    def listed(self, context: RequestContext, things: str) -> dict[str, str | None]:
        """Return the columns by which a list is narrowed down to what a caller may see.

        :param things: what the rules ``<things>:show`` and ``<things>:show_all_projects`` are about
        :raises Forbidden: the caller may see none of them
        """
        if self.allows(context, f"{things}:show_all_projects"):
            return {}
        self.check(context, f"{things}:show", context.project_id)
        return {"project_id": context.project_id}


def _named(conf: cfg.ConfigOpts) -> str:
    """Return what the configuration names; oslo.policy would go on without what it cannot read."""
    file: str = conf.oslo_policy.policy_file
    found = conf.find_file(file)
    if found is None and _is_said(conf, "policy_file"):
        raise ConfigError(f"[oslo_policy] policy_file = {file}: there is no such file")
    if found is not None and Path(found).is_dir():
        raise ConfigError(f"[oslo_policy] policy_file = {file}: this is a folder")
    for folder in conf.oslo_policy.policy_dirs:
        found = conf.find_file(folder)
        if found is None and not _is_said(conf, "policy_dirs"):
            continue
        try:
            os.listdir(found or folder)
        except OSError as error:
            problem = f"[oslo_policy] policy_dirs = {folder}: {error.strerror}"
            raise ConfigError(problem) from error
    return file


def _is_said(conf: cfg.ConfigOpts, option: str) -> bool:
    """Say whether the configuration names it, and not only the default."""
    said = conf.get_location(option, "oslo_policy")
    return said is not None and said.location is not cfg.Locations.opt_default


def _leaves(check: Any) -> Iterator[Any]:
    """Go through the checks of which a rule is made with ``and``, ``or`` and ``not``."""
    parts = [check.rule] if hasattr(check, "rule") else getattr(check, "rules", ())
    if not parts:
        yield check
    for part in parts:
        yield from _leaves(part)


def _cannot_be_asked(check: Any) -> str | None:
    """Say why a check would fail, or never be true, for oslo.policy looks only when it is asked."""
    if getattr(check, "kind", None) in (None, *_ELSEWHERE):
        return None
    for name in _OF_OWNER.findall(check.match):
        if name != "project_id":
            return f"'{check}': there is no '{name}'; expected %(project_id)s"
    try:
        check({"project_id": "p"}, {"user_id": "u", "project_id": "p", "roles": ["r"]}, None)
    except (ArithmeticError, LookupError, SyntaxError, TypeError, ValueError) as error:
        return f"'{check}': it cannot be asked ({one_line(error)}); expected one such as {OWN}"
    return None

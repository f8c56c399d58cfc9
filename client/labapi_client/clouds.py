"""Clouds as OpenStack's clients describe them: ``OS_*`` or ``clouds.yaml``.

What is read of ``clouds.yaml`` is what a session needs; profiles of vendors are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labapi_client.exceptions import BadConfiguration

ENDPOINT = "test_lab_endpoint_override"


@dataclass(frozen=True)
class Cloud:
    """Where a Keystone is, and who asks it.

    :ivar auth: options of the plugin
    :ivar endpoint: the URL of the lab, if it is not in the catalogue
    :ivar source: where this was found, for messages
    """

    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth_type: str = "password"
    interface: str = "public"
    region_name: str | None = None
    endpoint: str | None = None
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    source: str = ""


def from_environment(env: Mapping[str, str]) -> Cloud:
    """Return the cloud that the variables ``OS_*`` describe."""
    given = {name[3:].lower(): value for name, value in env.items() if name.startswith("OS_")}
    return _cloud({**given, "auth": given}, "OS_AUTH_URL")


def load(name: str, env: Mapping[str, str]) -> Cloud:
    """Return a cloud of ``clouds.yaml``, with the secrets of ``secure.yaml`` beside it.

    :raises BadConfiguration: there is no such file, or no such cloud in it
    """
    path = next((path for path in _places(env) if path.is_file()), None)
    if path is None:
        raise BadConfiguration(f"cloud {name!r}: there is no clouds.yaml (OS_CLIENT_CONFIG_FILE)")
    clouds = _read(path)
    if name not in clouds:
        known = ", ".join(sorted(map(str, clouds))) or "none"
        raise BadConfiguration(f"{path}: there is no cloud {name!r}; known: {known}")
    secure = path.with_name("secure.yaml")
    secrets = _read(secure) if secure.is_file() else {}
    return _cloud(_merged(clouds[name], secrets.get(name, {})), f"{path}, cloud {name}")


def _places(env: Mapping[str, str]) -> Iterator[Path]:
    if named := env.get("OS_CLIENT_CONFIG_FILE"):
        yield Path(named)
    settings = env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for folder in (Path(), Path(settings) / "openstack", Path("/etc/openstack")):
        for ending in ("yaml", "yml"):
            yield folder / f"clouds.{ending}"


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        # Of the text itself nothing is shown: it holds passwords.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadConfiguration(f"{path} is not YAML{where}") from None
    clouds = found.get("clouds") if isinstance(found, dict) else None
    if not isinstance(clouds, dict) or not all(isinstance(one, dict) for one in clouds.values()):
        raise BadConfiguration(f"{path}: expected clouds: {{name: {{auth: …}}}}")
    return clouds


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    merged["auth"] = {**_auth(one), **_auth(other)}
    return merged


def _auth(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    auth = settings.get("auth") or {}
    if not isinstance(auth, Mapping):
        raise BadConfiguration("auth: expected options such as auth_url and username")
    return auth


def _cloud(settings: Mapping[str, Any], source: str) -> Cloud:
    cert, key = settings.get("cert"), settings.get("key")
    return Cloud(
        auth=_auth(settings),
        auth_type=settings.get("auth_type") or "password",
        interface=settings.get("interface") or "public",
        region_name=settings.get("region_name") or None,
        endpoint=settings.get(ENDPOINT) or None,
        verify=_verify(settings),
        cert=(cert, key) if cert and key else cert,
        source=source,
    )


def _verify(settings: Mapping[str, Any]) -> bool | str:
    """Return what certificates are trusted: none is checked only where that is said outright."""
    if settings.get("verify") is False or str(settings.get("insecure", "")).lower() in (
        "1",
        "true",
    ):
        return False
    return settings.get("cacert") or True

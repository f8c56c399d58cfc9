"""What a new host needs to take part in the lab, as text for a terminal or as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from oslo_config import cfg

from labapi.config import ETC
from labapi.exceptions import ConfigError
from labapi.rpc import broker_user, signing

SCRIPT = "rabbitmqctl.sh"


@dataclass(slots=True)
class NewAgent:
    """The configuration of a host, and the files that it names.

    :ivar host: its name
    :ivar lines: of its ``labapi.conf``
    :ivar public: name and text of the file with the conductors' public key, None if there is none
    :ivar ca: the file with the issuers that the conductors' machines trust, None for the system's
    """

    host: str
    lines: list[str] = field(default_factory=list)
    public: tuple[str, str] | None = None
    ca: Path | None = None

    @classmethod
    def of(cls, conf: cfg.ConfigOpts, host: str, url: str) -> Self:
        """Return what a host needs to work with conductors of this configuration.

        :param url: of the broker, with the host's user
        """
        made = cls(host)
        made.lines += ["[DEFAULT]", "state_path = /var/lib/labapi"]
        made.lines += ["[messaging]", f"transport_url = {url}"]
        if conf.messaging.ca_file:
            made.ca = Path(conf.messaging.ca_file)
            made.lines.append(f"ca_file = {ETC / made.ca.name}")
        made.lines += ["[agent]", f"host = {host}"]
        made._trust(conf.conductor.signing_key)
        return made

    def _trust(self, file: str | None) -> None:
        """Say what the host needs to know of the conductors' key."""
        if not file:
            self.lines.append("# trusted_keys: [conductor] signing_key names no key here")
            return
        try:
            text = signing.public_line(file)
        except ConfigError as error:
            self.lines.append(f"# trusted_keys: {error}")
            return
        self.public = f"{Path(file).name}.pub", text
        self.lines.append(f"trusted_keys = {ETC / self.public[0]}")

    def __str__(self) -> str:
        """Return what is to be done on the host, for somebody who reads."""
        said = f"\n{ETC}/labapi.conf of {self.host}; keep the file to the agent's user:\n"
        said += "".join(f"    {line}\n" for line in self.lines)
        if self.ca is not None:
            said += f"\n{ETC / self.ca.name} there: a copy of {self.ca}\n"
        if self.public is not None:
            said += f"\n{ETC / self.public[0]} there, one line:\n    {self.public[1]}\n"
        return said

    def write(self, folder: Path, steps: Sequence[broker_user.Step]) -> list[str]:
        """Write it into a new folder, with the steps at the broker as a script; return the names.

        :raises ConfigError: a file cannot be read or written
        """
        files = {"labapi.conf": "".join(f"{line}\n" for line in self.lines)}
        if steps:
            files[SCRIPT] = "".join(f"{step}\n" for step in steps)
        if self.public is not None:
            files[self.public[0]] = f"{self.public[1]}\n"
        try:
            if self.ca is not None:
                files[self.ca.name] = self.ca.read_text()
            folder.mkdir(mode=0o700)
            for name, text in files.items():
                with open(folder / name, "x", opener=_private) as file:
                    file.write(text)
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error
        return sorted(files)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

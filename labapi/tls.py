"""TLS to the servers, checked: the chain of the certificate and the name of the server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from labapi.exceptions import ConfigError


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one section's TLS.

    :ivar section: of the configuration
    :ivar ca: certificates of the issuers that are trusted
    :ivar cert: the certificate that this program shows, None if it shows none
    :ivar key: its private key, None if it is in the same file
    """

    section: str
    ca: str | None
    cert: str | None
    key: str | None

    def __bool__(self) -> bool:
        """Say whether any file is named."""
        return bool(self.ca or self.cert or self.key)

    def context(self) -> ssl.SSLContext:
        """Return what checks a server's chain and name, by the system's issuers if none is named.

        :raises ConfigError: a file cannot be used
        """
        if self.key and not self.cert:
            raise ConfigError(f"[{self.section}] key_file: it needs a cert_file")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigError(f"[{self.section}] ca_file: {self.ca}: {_why(error)}") from error
        try:
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            names = " and ".join(filter(None, (self.cert, self.key)))
            raise ConfigError(f"[{self.section}] cert_file: {names}: {_why(error)}") from error
        return context


def options(needs: str) -> list[cfg.Opt]:
    """Return the options of a section.

    :param needs: when the files are used
    """
    return [
        cfg.StrOpt(
            "ca_file",
            help="File with the certificates of the issuers to trust. The server's certificate is"
            f" checked, its name included. {needs}",
        ),
        cfg.StrOpt(
            "cert_file", help="File with the certificate that this program shows to the server."
        ),
        cfg.StrOpt("key_file", help="File with its private key, if cert_file does not hold it."),
    ]


def files(section: str, group: Any) -> Files:
    """Return the files that a section names.

    :param group: the section's options
    """
    return Files(section, group.ca_file, group.cert_file, group.key_file)


def _why(error: OSError) -> str:
    # ssl.SSLError is an OSError whose text ends in a line of OpenSSL's source.
    if isinstance(error, ssl.SSLError):
        return "it is not a PEM file of certificates or keys that fit"
    return error.strerror or str(error)

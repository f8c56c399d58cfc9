"""What the agent says about itself: announcement, heartbeats, goodbye."""

from __future__ import annotations

import random
import socket
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from oslo_config import cfg

import labapi
from labapi.agent.attempts.journal import Journal
from labapi.agent.attempts.slots import Slots
from labapi.agent.catalogue import Catalogue
from labapi.agent.link import facts
from labapi.agent.link.lease_keys import KeysFile
from labapi.agent.link.reporter import Reporter
from labapi.agent.link.trust import Trust
from labapi.agent.state import StateFolder
from labapi.rpc import messages

HELD_AFTER = 5.0  # seconds; what comes and goes faster than that is not worth naming
NAMED = 256  # attempts that a heartbeat names; of more, each has its turn by chance
UNUSED_PORT = 9  # discard; nothing is sent to it


class SignsOfLife:
    """Tells the conductors that this host is here.

    Commands name the session in which they were given. It ends when contact is lost: the conductors
    may then give up the agent's cases, so commands from before do not count. When the agent has
    announced itself again, the conductors resend those that still hold.

    :ivar session: id of the time since contact was lost last

    :param options: the group ``[agent]``
    :param url: of the broker
    """

    def __init__(
        self,
        options: cfg.ConfigOpts.GroupAttr,
        url: str,
        *,
        state: StateFolder,
        journal: Journal,
        catalogue: Catalogue,
        slots: Slots,
        reporter: Reporter,
        trust: Trust,
        keys: KeysFile | None = None,
    ) -> None:
        self._options = options
        self._url = url
        self._state = state
        self._journal = journal
        self._catalogue = catalogue
        self._slots = slots
        self._reporter = reporter
        self._trust = trust
        self._keys = keys
        self.session = uuid.uuid4().hex
        self._stopping = False
        self._fixed_facts = facts.fixed(labapi.__version__)

    def lost_contact(self) -> None:
        """Begin another session, which counts once it is announced."""
        self.session = uuid.uuid4().hex

    def stop_soon(self) -> None:
        """Tell from now on that this host is given nothing more."""
        self._stopping = True
        self.beat()

    def announce(self) -> None:
        """Tell who this is, and its catalogue; of one that stops soon, that it does."""
        if self._stopping:
            self.beat()
            return
        self._reporter.tell(
            messages.Announce(
                host=self._options.host,
                agent=self._state.agent,
                address=self._options.address or address(self._url),
                release=labapi.__version__,
                slots=self._options.slots,
                journal=self._journal.id,
                session=self.session,
                held=_some(self._journal.held(), messages.MAX_HELD),
                challenge=self._trust.challenge(),
                trusted_keys=self._trust.keys,
                clock=time.time(),
                facts=self._facts(),
                plugins=self._catalogue.described(),
            )
        )

    def beat(self) -> None:
        """Tell how the machine is."""
        self._reporter.tell(
            messages.Heartbeat(
                host=self._options.host,
                agent=self._state.agent,
                clock=time.time(),
                challenge=self._trust.challenge(),
                session=self.session,
                stopping=self._stopping,
                held=_some(self._slots.held(time.monotonic() - HELD_AFTER), NAMED),
                keys=self._keys.held() if self._keys is not None else None,
                facts=self._facts(),
            )
        )

    def _facts(self) -> dict[str, Any]:
        return {
            **self._fixed_facts,
            **facts.current(self._state.path),
            **self._slots.counts()._asdict(),
            "slots": self._options.slots,
        }

    def told_keys(self, message: messages.LeaseKeys) -> None:
        """Let in by ssh whom a conductor names."""
        if self._keys is not None:
            self._keys.told(message)

    def leave(self) -> None:
        """Tell that this host stops."""
        self._reporter.tell(messages.Goodbye(host=self._options.host, agent=self._state.agent))


def _some(held: dict[str, str], limit: int) -> dict[str, str]:
    if len(held) <= limit:
        return held
    return dict(random.sample(list(held.items()), limit))


def address(url: str) -> str | None:
    """Return the address of the interface that leads to a broker, None if none does."""
    host = urlsplit(url).hostname or "127.0.0.1"
    try:
        family, _, _, _, where = socket.getaddrinfo(host, UNUSED_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError:
        return None

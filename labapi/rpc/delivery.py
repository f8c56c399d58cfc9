"""Handing what came from a queue to whom it is for: verified, read, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oslo_log import log

from labapi.exceptions import BadMessage, ForSomebodyElse, NoRoom, Unavailable
from labapi.rpc.frames import UNREADABLE
from labapi.rpc.messages import Message, decode
from labapi.rpc.signing import Verifier
from labapi.rpc.tally import Tally
from labapi.rpc.transport import sender

LOG = log.getLogger(__name__)

Pair = tuple[Any, Message]  # as it came, and what it says
Dropped = tuple[Any, str]  # as it came, and why it was dropped


class Delivery:
    """Hands messages over in batches, and finds the one on which a batch breaks.

    :param name: of whoever reads, for the log
    :param handle: gets a list of messages. When it raises :class:`~labapi.exceptions.Unavailable`
        they are for later. With any other error they are handed over one by one, and a message that
        fails alone is logged and dropped: it would fail for ever.
    :param verifier: drops what it does not accept, before it is read
    :param keeps: waits and says whether to hand a batch over again that was for later, here and now
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Message]], None],
        verifier: Verifier | None = None,
        keeps: Callable[[], bool] = lambda: False,
    ) -> None:
        self._name = name
        self._handle = handle
        self._verifier = verifier
        self._keeps = keeps
        self._dropped = Tally()
        self._held_up = ""

    def deliver(self, taken: Sequence[Any]) -> list[Dropped]:
        """Hand over what was received; return what cannot be used.

        :raises Unavailable: not now
        """
        pairs: list[Pair] = []
        dropped: list[Dropped] = []
        for raw in taken:
            try:
                if self._verifier is None or self._verifier.accepts(body_of(raw), raw.headers):
                    pairs.append((raw, _read(raw)))
            except BadMessage as error:
                dropped.append((raw, str(error)))
        self._deliver(pairs, dropped)
        for _, cause in dropped:
            if so_far := self._dropped.add(self._name):
                LOG.error("%s: dropped a message (%d so far): %.500r", self._name, so_far, cause)
        return dropped

    def note_unavailable(self, error: Unavailable) -> None:
        """Log once what keeps the handler from its work; to have enough to do is no trouble."""
        if isinstance(error, NoRoom):
            LOG.debug("%s: %s", self._name, error)
            return
        if str(error) != self._held_up:
            cause = f": {error.__cause__}" if error.__cause__ else ""
            LOG.warning("%s: %s%s; trying again", self._name, error, cause)
        self._held_up = str(error)

    def _note_success(self) -> None:
        if self._held_up:
            LOG.info("%s: works again", self._name)
        self._held_up = ""

    def _deliver(self, pairs: list[Pair], dropped: list[Dropped]) -> None:
        while pairs:
            try:
                self._handle([message for _, message in pairs])
                return self._note_success()
            except ForSomebodyElse:
                raise
            except Unavailable as error:
                if not self._keeps():
                    raise
                self.note_unavailable(error)
            except Exception as error:
                if len(pairs) == 1:
                    raw, message = pairs[0]
                    kind = type(message).__name__
                    LOG.exception("%s: dropped a message: %s", self._name, kind)
                    dropped.append((raw, f"{kind}: {type(error).__name__}: {error}"))
                    return None
                LOG.warning("%s: a batch failed (%s); one by one", self._name, type(error).__name__)
                for pair in pairs:
                    self._deliver([pair], dropped)
                return None
        return None


def _read(raw: Any) -> Message:
    """Return the message, if it comes from the host that it names.

    :raises BadMessage: it does not, or it is not of the protocol
    """
    if str(raw.content_type).startswith(UNREADABLE):
        raise BadMessage(raw.content_type.removeprefix(UNREADABLE))
    message = decode(body_of(raw))
    host = sender(raw.delivery_info.get("routing_key") or "")
    named = getattr(message, "host", host)
    if host is not None and named != host:
        raise BadMessage(f"it names the host {named!r}")
    return message


def body_of(raw: Any) -> bytes:
    """Return the body of a message as it came."""
    body = raw.body
    return body if isinstance(body, bytes) else str(body).encode()

"""The messages of the protocol, typed and versioned.

A message is a JSON object; ``kind`` says which one it is and ``version`` in which form. A receiver
ignores fields that it does not know, so that a field may be added within a version; a change that
an older receiver would misread takes a new version. Bytes travel as base64. Times are seconds.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Union

import msgspec

from labapi.case import Result, State
from labapi.exceptions import BadMessage

VERSION = 1

# What a stranger sends is bounded. MariaDB as it comes takes statements of 16 MiB, in which a text
# is twice as long as in the message at worst: the largest batch of reports stays far below.
MAX_BYTES = 8 * 1024 * 1024  # of any message
MAX_REPORT = 2 * 1024 * 1024  # bytes of a message that agents send
MAX_DATA = 1024 * 1024  # bytes of what a method returned, as JSON
MAX_NEWS = 8 * 1024  # bytes of output, and of data as JSON, that an event tells
MAX_DEPTH = 201  # objects and lists within one another: a value in a message has 200, as shown

# Host names end up in routing keys, where # and * would be wildcards, and in names of queues,
# which have 255 characters at most.
HOST_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"

# What the columns hold, and nothing that could forge a line of a log.
Host = Annotated[str, msgspec.Meta(pattern=rf"^{HOST_PATTERN}\Z")]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")]
AgentId = Annotated[Id, msgspec.Meta(max_length=36)]
Word = Annotated[str, msgspec.Meta(max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=255)]
Detail = Annotated[str, msgspec.Meta(max_length=4000)]
Text = Annotated[str, msgspec.Meta(max_length=65536)]
ExitCode = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
# What an agent has in hand, {attempt: case}; it names no more than this.
MAX_HELD = 1000
MAX_TRUSTED = 64  # keys that an agent trusts at the same time
Held = Annotated[dict[Id, Id], msgspec.Meta(max_length=MAX_HELD)]
Size = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all messages have in common. A class that derives from it is a message, without more.

    :cvar repeated: a broker need not write it to its disk: if it is restarted, the sender says it
        again, or the receiver finds it in the database
    :cvar signed: a command, which conductors sign and agents obey
    :cvar max_bytes: a larger one is refused
    """

    repeated: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    max_bytes: ClassVar[int] = MAX_REPORT

    version: int = VERSION


class Wake(Message, frozen=True, kw_only=True, tag="wake"):
    """API → conductor: there is something to do. A hint only: what to do is in the database.

    :ivar hosts: names of hosts that cases wait for
    :ivar given: UUIDs of cases that were given to their hosts as they were made
    :ivar cancelled: UUIDs of running cases that are to be cancelled
    :ivar unplaced: cases wait that name no host
    :ivar plans: UUIDs of test plans of which something may begin
    """

    repeated: ClassVar[bool] = True
    max_bytes: ClassVar[int] = MAX_BYTES

    hosts: list[Name] = []
    given: list[Id] = []
    cancelled: list[Id] = []
    unplaced: bool = False
    plans: list[Id] = []


class RunCase(Message, frozen=True, kw_only=True, tag="run_case"):
    """Conductor → agent: run this attempt.

    :ivar case: UUID of the case
    :ivar attempt: fencing token; an agent runs an attempt at most once
    :ivar agent: UUID of the agent that the host belongs to; another one does not run it
    :ivar session: as in :class:`Announce`; an agent that has another one by now does not run it,
        since the case may have a verdict already, or may have run
    :ivar timeout: seconds that the method may run
    :ivar rank: of those that wait at the agent the lowest begins first, of equals the oldest
    :ivar patience: seconds after its arrival at which it begins before all that have more left
    """

    repeated: ClassVar[bool] = True
    max_bytes: ClassVar[int] = MAX_BYTES
    signed: ClassVar[bool] = True

    case: Id
    attempt: Id
    host: Host
    agent: AgentId | None = None
    session: AgentId | None = None
    plugin: Word
    method: Word
    parameters: dict[str, Any]
    timeout: float
    rank: int = 0
    patience: float | None = None
    request_id: Word


class CancelCase(Message, frozen=True, kw_only=True, tag="cancel_case"):
    """Conductor → agent: end this attempt; its result is ``CANCELLED`` if it had not finished."""

    repeated: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    case: Id
    attempt: Id
    host: Host


class Introduce(Message, frozen=True, kw_only=True, tag="introduce"):
    """Conductor → agent: announce yourself again, the database does not know you."""

    repeated: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    host: Host


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Conductor → agent: heard you; for a sign of life with a challenge, or of a refused agent.

    :ivar agent: UUID of the agent that is meant; two may listen where one host name is used twice
    :ivar challenge: as the agent sent it
    :ivar clock: the conductor's clock, seconds since the epoch
    :ivar accepted: False if the host belongs to another agent
    """

    repeated: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    host: Host
    agent: AgentId
    challenge: Word
    clock: float
    accepted: bool = True


class LeaseKeys(Message, frozen=True, kw_only=True, tag="lease_keys"):
    """Conductor → agent: let in by ssh whoever has leased this host, and nobody else.

    :ivar agent: UUID of the agent that is meant
    :ivar nonce: as the agent sent it; it counts once
    :ivar lease: UUID of the lease, empty for none
    :ivar keys: its ssh public keys
    :ivar seconds: until it ends
    """

    repeated: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    host: Host
    agent: AgentId
    nonce: Word
    lease: Word = ""
    keys: Annotated[list[Detail], msgspec.Meta(max_length=64)] = []
    seconds: float = 0.0


class CaseStarted(Message, frozen=True, kw_only=True, tag="case_started"):
    """Agent → conductor: this attempt runs; sent for what is not finished in a moment anyway.

    :ivar age: seconds since the start; the receiver subtracts it from its own clock
    """

    case: Id
    attempt: Id
    host: Host
    age: float = 0.0


class CaseResult(Message, frozen=True, kw_only=True, tag="case_result"):
    """Agent → conductor: how an attempt ended.

    :ivar reason: machine-readable, None with PASS and FAIL (``exception``, ``rejected``, …)
    :ivar detail: one or two sentences for a person
    :ivar exit_code: of the method's process, if it ran one and that one ended by itself
    :ivar data: what the method returned, a JSON value
    :ivar ran: seconds from start to end, None if it never started
    :ivar age: seconds since the end; the receiver subtracts it from its own clock
    :ivar output_offset: where ``output`` begins in the whole output, in bytes
    :ivar output: the last piece of the output
    :ivar output_size: bytes that the method wrote in all; more than was kept if it was cut
    """

    case: Id
    attempt: Id
    host: Host
    result: Result
    reason: Word | None = None
    detail: Detail | None = None
    exit_code: ExitCode | None = None
    data: Any = None
    ran: float | None = None
    age: float = 0.0
    output_offset: Size = 0
    output: bytes = b""
    output_size: Size = 0


class CaseRefused(Message, frozen=True, kw_only=True, tag="case_refused"):
    """Agent → conductor: I trust no key that signed this attempt; it has not run and will not."""

    case: Id
    attempt: Id
    host: Host


class Output(Message, frozen=True, kw_only=True, tag="output"):
    """Agent → conductor: a piece of an attempt's output, in bytes from ``offset`` on."""

    case: Id
    attempt: Id
    host: Host
    offset: Size
    data: bytes


class MethodDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One method of a catalogue.

    :ivar description: what it does and takes, for a person
    :ivar schema: JSON schema of ``parameters``, None if anything goes
    """

    description: Text
    schema: dict[str, Any] | None = None


class Announce(Message, frozen=True, kw_only=True, tag="announce"):
    """Agent → conductor: this host is here, with this catalogue.

    :ivar agent: UUID made when the agent's state folder was made; tells apart two machines that
        use one host name
    :ivar journal: id of what the agent remembers its attempts in; another one whenever that may
        lack something
    :ivar session: id of the time since the agent started, or lost contact
    :ivar held: attempts that it has started and whose results are still to come
    :ivar challenge: answered with :class:`Welcome` if there is one
    :ivar trusted_keys: short names of the conductors' keys that it trusts; None if it obeys all
    :ivar address: the machine's own idea of its address
    :ivar slots: cases that it runs at the same time
    :ivar clock: as in :class:`Heartbeat`, like the facts; older agents tell them only there
    :ivar plugins: ``{plugin: {method: description}}``
    """

    host: Host
    agent: AgentId
    journal: AgentId | None = None
    session: AgentId | None = None
    held: Held = {}
    address: Word | None
    release: Word
    slots: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1
    challenge: Word | None = None
    trusted_keys: Annotated[list[Word], msgspec.Meta(max_length=MAX_TRUSTED)] | None = None
    clock: float | None = None
    facts: dict[str, Any] = {}
    plugins: dict[Word, dict[Word, MethodDescription]]


class KeysHeld(msgspec.Struct, frozen=True, kw_only=True):
    """Whose ssh keys an agent lets in.

    :ivar nonce: for the answer, if it has to be told something else
    :ivar lease: UUID of the lease, empty for none
    :ivar seconds: until it takes them out
    """

    nonce: Word
    lease: Word = ""
    seconds: float = 0.0


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Agent → conductor: still here.

    :ivar agent: as in :class:`Announce`
    :ivar challenge: as in :class:`Announce`
    :ivar clock: the sender's clock, seconds since the epoch; only ever compared, never believed
    :ivar session: as in :class:`Announce`
    :ivar stopping: it is to be given nothing more, and stops when what runs has ended
    :ivar held: attempts that wait or run here for some seconds already
    :ivar keys: None if this agent lets nobody in who has leased its host
    :ivar facts: load, memory, disk, running attempts …; a flat JSON object
    """

    repeated: ClassVar[bool] = True

    host: Host
    agent: AgentId
    clock: float
    challenge: Word | None = None
    session: AgentId | None = None
    stopping: bool = False
    held: Held = {}
    keys: KeysHeld | None = None
    facts: dict[str, Any] = {}


class Goodbye(Message, frozen=True, kw_only=True, tag="goodbye"):
    """Agent → conductor: a clean stop; do not wait for heartbeats."""

    host: Host
    agent: AgentId


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a case has set: columns of its row, and its whole output."""

    host: Host
    result: Result
    reason: Word | None = None
    detail: Detail | None = None
    exit_code: ExitCode | None = None
    data: Any = None
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime
    output: bytes = b""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A case that has another state; as in :class:`CaseChanged`."""

    case: Id
    result: Result | None = None
    ending: Ending | None = None


class CaseChanged(Message, frozen=True, kw_only=True, tag="case_changed"):
    """Conductor or API → whoever listens on ``labapi.events``: a case has this state now.

    It is news, no record: it may come twice, and what happens while the broker is away is not
    announced later. A case that is run again is announced as ``queued`` once more.

    :ivar ending: of one that has finished, if it is small; a request that waits is answered with it
        and need not ask the database
    :ivar more: others that have this state now, too
    """

    repeated: ClassVar[bool] = True
    max_bytes: ClassVar[int] = MAX_BYTES

    case: Id
    state: State
    result: Result | None = None
    ending: Ending | None = None
    more: list[Change] = []

    def apart(self) -> Iterator[CaseChanged]:
        """Yield the same as a message for each case."""
        yield msgspec.structs.replace(self, more=[]) if self.more else self
        for one in self.more:
            yield CaseChanged(case=one.case, state=self.state, result=one.result, ending=one.ending)


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(
    Union[tuple(Message.__subclasses__())]  # noqa: UP007 (the union of what is defined above)
)


def encode(message: Message) -> bytes:
    """Return the message as JSON."""
    return _encoder.encode(message)


def decode(body: bytes) -> Message:
    """Return the message that a JSON body holds.

    :raises BadMessage: not JSON, not a known kind, a field of the wrong type, another version,
        larger than the message may be, nested deeper than ``MAX_DEPTH``
    """
    _require_size(len(body), MAX_BYTES)
    try:
        message = _decoded(body)
        deep = too_deep(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from error
    if message.version != VERSION:
        raise BadMessage(f"version {message.version} is not {VERSION}")
    _require_size(len(body), message.max_bytes)
    if deep:
        raise BadMessage(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(message, CaseResult) and len(body) > MAX_DATA:
        _require_size(len(_encoder.encode(message.data)), MAX_DATA)
    return message


def fits_news(data: Any, output: bytes) -> bool:
    """Say whether what a method returned and wrote is small and flat enough for an event."""
    if len(output) > MAX_NEWS:
        return False
    text = _encoder.encode(data)
    return len(text) <= MAX_NEWS and text.count(b"[") + text.count(b"{") < MAX_DEPTH // 2


def too_deep(body: bytes, levels: int = MAX_DEPTH) -> bool:
    """Say whether JSON is nested deeper than so many levels.

    :raises msgspec.DecodeError: it is not JSON
    :raises RecursionError: it is nested deeper than a reader can follow
    """
    if body.count(b"[") + body.count(b"{") <= levels:
        return False
    level = [msgspec.json.decode(body)]
    for _ in range(levels):
        level = [inner for value in level for inner in _inside(value)]
    return any(isinstance(value, dict | list) for value in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _require_size(size: int, most: int) -> None:
    if size > most:
        raise BadMessage(f"{size} bytes are more than {most}")


def _decoded(body: bytes) -> Message:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        # The result of a case was called "outcome" once; journals may hold reports from then.
        if b'"outcome":' not in body:
            raise
        return _decoder.decode(body.replace(b'"outcome":', b'"result":', 1))

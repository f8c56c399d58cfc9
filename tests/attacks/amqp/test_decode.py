"""Whatever bytes come, they are a message or a BadMessage; nothing else comes out of decode."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from labapi.exceptions import BadMessage
from labapi.rpc.messages import Message, decode, encode
from tests.unit.rpc.test_messages import ANNOUNCE, RESULT

NAMES = sorted({name for kind in Message.__subclasses__() for name in kind.__struct_fields__})
KINDS = [kind.__struct_config__.tag for kind in Message.__subclasses__()]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(KINDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=2000)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda message, at, piece: message[:at] + piece + message[at:],
        st.sampled_from([RESULT % b'"data":[1]', ANNOUNCE % b'"slots":1']),
        st.integers(0, 150),
        st.binary(min_size=1, max_size=8) | st.sampled_from([b'"', b"{", b"[[", b",", b"\\u0000"]),
    )
    | st.dictionaries(st.sampled_from(["kind", "version", *NAMES]), VALUES, min_size=1).map(
        lambda found: json.dumps(found).encode()
    )
)
def test_whatever_bytes_come_are_a_message_or_none(body: bytes) -> None:
    try:
        message = decode(body)
    except BadMessage:
        return
    assert decode(encode(message)) == message

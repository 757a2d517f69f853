"""What is read quickly is what nats-py reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from nats.aio.client import Client

from adapters.jetstream.wire import QuickClient

PIECES = [
    b"Name",
    b":",
    b": ",
    b" ",
    b"\t",
    b"\r\n",
    b"\xff",
    "größer".encode(),
    b"\x0b",
]


@given(some.lists(some.sampled_from(PIECES) | some.binary(max_size=3)).map(b"".join))
def test_headers_are_read_as_the_library_reads_them(raw: bytes) -> None:
    read = QuickClient._parse_header_lines

    assert read(raw) == Client._parse_header_lines(raw)

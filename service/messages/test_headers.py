"""What callers say beside a message."""

from __future__ import annotations

import pytest

from service.messages import headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"00-{TRACE}", f"00-{TRACE}"),
        (f"cc-{TRACE}", f"cc-{TRACE}"),
        (f"cc-{TRACE}-what-a-later-version-has", f"cc-{TRACE}"),
        (f"cc-{TRACE}what-is-none", ""),
        (f"00-{TRACE}-what-this-version-has-not", ""),
        (f"00-{TRACE}\n", ""),
        (f"ff-{TRACE}", ""),
    ],
)
def test_of_a_trace_context_is_kept_what_this_version_knows(
    given: str, kept: str
) -> None:
    assert headers.read({"traceparent": given}).provenance.traceparent == kept

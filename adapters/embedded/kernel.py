"""What a child asks of Linux between fork and exec: another user, to die with us.

Nothing in that moment may import, lock or log, for other threads may hold a lock.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Self

PR_SET_PDEATHSIG, PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_CAP_AMBIENT = 1, 27, 28, 47
PR_CAP_AMBIENT_RAISE = 2
PR_SET_TIMERSLACK = 29
SECBIT_NO_SETUID_FIXUP = 4
CAP_DAC_OVERRIDE, CAP_SETPCAP = 1, 8
CAPABILITY_VERSION_3 = 0x20080522

# Loaded before any fork. None outside Linux: there the next start ends an orphan.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The user a child runs as; `passes_closed_folders` as root would."""

    uid: int
    gid: int
    passes_closed_folders: bool = False

    @classmethod
    def of(cls, user: str | int, *, passes_closed_folders: bool = False) -> Self:
        """Look the user up by name or number (`KeyError` if there is none)."""
        entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
        return cls(
            entry.pw_uid, entry.pw_gid, passes_closed_folders and _libc is not None
        )


def may_pass_closed_folders() -> bool:
    """Tell whether we have that right to lend; root in a container may not."""
    if _libc is None:
        return False
    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
    )
    permitted, needed = (
        int(status["CapPrm"], 16),
        1 << CAP_DAC_OVERRIDE | 1 << CAP_SETPCAP,
    )
    return permitted & needed == needed


class Preparation:
    """Called in the child: become the account, then tie its life to the parent's.

    Its timers may be late by `slack_ns` nanoseconds, where that is not 0.
    """

    def __init__(
        self, account: Account | None, farewell: Signals, slack_ns: int
    ) -> None:
        self.account = account
        self.farewell = farewell
        self.slack_ns = slack_ns
        self.parent = os.getpid()

    def __call__(self) -> None:
        if self.account is not None:
            become(self.account)
        if self.slack_ns and _libc is not None:
            _prctl(PR_SET_TIMERSLACK, self.slack_ns)
        # Last, because a change of user clears it.
        die_with_parent(self.parent, self.farewell)


def become(account: Account) -> None:
    """Turn root into the account for good, with the one right it may need."""
    if account.passes_closed_folders:
        # Not PR_SET_KEEPCAPS, under which access(2) goes on to ignore capabilities:
        # initdb asks it about its own programs, and could not find those below /root.
        kept = _prctl(PR_GET_SECUREBITS)
        _prctl(PR_SET_SECUREBITS, kept | SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if account.passes_closed_folders:
        _keep_only(CAP_DAC_OVERRIDE)


def die_with_parent(parent: int, farewell: Signals) -> None:
    """Have `farewell` sent to us when the thread that forked us ends, however."""
    if _libc is None:
        return
    _prctl(PR_SET_PDEATHSIG, farewell)
    # It may have died before it was heard; then nobody is left to tell us.
    if os.getppid() != parent:
        os._exit(1)


def _keep_only(capability: int) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    # Effective, permitted, inheritable for capabilities 0-31, then the same for 32-63.
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    assert _libc is not None
    if _libc.capset(header, sets) != 0:
        raise PermissionError(ctypes.get_errno(), "capset")
    # Only an ambient capability outlives the exec of a file that has none itself.
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, *arguments: int) -> int:
    assert _libc is not None
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(option, *padded)
    if result < 0:
        raise PermissionError(ctypes.get_errno(), "prctl")
    return result

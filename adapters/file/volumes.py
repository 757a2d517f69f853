"""What lies on the disk, and how it gets there whole.

    <folder>/<volume id>/volume         the data, a sparse file
    <folder>/<volume id>/made-by 7 2026-01-01T00:00:00+00:00
                                        what made it: position in the log, and time
    <folder>/.<volume id>.making        half-made
    <folder>/.<volume id>.deleting      half-removed
    <folder>/snapshot-<snapshot id>/…   likewise a snapshot
    <folder>/snapshot-<snapshot id>/of <volume id>
                                        what it is of
    <folder>/incoming/<name>            what may become a volume, or was one

A volume appears and disappears by one rename of its directory, so what a kill or
a power cut leaves is whole, absent, or has a name that says to remove it. Nothing
else in the folder is touched.

What comes in is linked into its volume and only then loses its name in `incoming`;
what is let go gets one there first. So its data never depends on one name alone.

What made a volume is in the name of a second link to its data, as is what a snapshot
is of: that is durable with the directory, where a file would be an inode and an fsync
more. Holdfast 0.1.0 wrote such a file, `made-by.json`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock
from uuid import UUID

import msgspec

from adapters.file.failures import (
    Crowded,
    Gone,
    InUse,
    MadeForAnother,
    Misnamed,
    NotThere,
    OutOfSight,
    StillOpen,
    Taken,
    Unexplained,
)
from adapters.holders import holders
from domain import reference
from domain.ports import Cause, DriverFailed

DATA = "volume"
INCOMING = "incoming"
OLD_MADE_BY = "made-by.json"

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MADE_BY = re.compile(r"made-by (\d+) (.*)")
OF = re.compile(rf"of ({ID})")

Fill = Callable[[Path], None]


def blank(path: Path) -> None:
    """Leave it to others to make a file that reads as zeros."""


class Volumes:
    """The volumes in one folder, or its snapshots."""

    def __init__(self, folder: Path, noun: str = "volume", prefix: str = "") -> None:
        self._folder = folder
        self._noun = noun
        self._prefix = prefix
        self._home_of = re.compile(rf"{prefix}({ID})")
        self._leftover = re.compile(rf"\.{prefix}{ID}\.(?:making|deleting)")
        self._incoming = folder / INCOMING
        self._seen: os.stat_result | None = None
        self._names = Names(folder)
        # Looking at 10,000 volumes takes 70 ms, so what is there is looked at once.
        self._sizes: dict[UUID, int] = {}

    def set_up(self) -> None:
        """Make the folder if there is none, and remember what it is and has."""
        if not self._folder.is_dir():
            self._folder.mkdir(0o700, parents=True)
            sync(self._folder.parent)
        self._seen = self._folder.stat()
        self._sizes = dict(self._found())

    def look(self) -> None:
        """Raise `OutOfSight` unless the folder is the one that was set up.

        What is absent there then counts as absent, and not as unmounted.
        """
        try:
            here = self._folder.stat()
        except FileNotFoundError as error:
            raise OutOfSight(self._folder) from error
        if self._seen and not os.path.samestat(here, self._seen):
            raise OutOfSight(self._folder)

    def path(self, volume_id: UUID) -> Path:
        """Return where the volume's data is, or would be."""
        return self._home(volume_id) / DATA

    def cause(self, volume_id: UUID) -> Cause | None:
        """Return what made the volume, None if it is absent; or raise `Unexplained`."""
        home = self._home(volume_id)
        try:
            if not stat.S_ISDIR(home.lstat().st_mode):
                raise Unexplained(home)
        except FileNotFoundError:
            return None
        try:
            return cause_in(home)
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            if not os.path.lexists(home):
                return None
            raise Unexplained(home) from error

    def is_made(self, volume_id: UUID, cause: Cause) -> bool:
        """Tell whether it was made for the cause, once leftovers are removed.

        Raises `MadeForAnother`, or `Unexplained`.
        """
        self.clean(volume_id)
        made_for = self.cause(volume_id)
        if made_for and made_for != cause:
            raise MadeForAnother(self._home(volume_id), made_for)
        return made_for is not None

    def size(self, volume_id: UUID) -> int:
        """Return the volume's size in bytes, or raise `Gone`."""
        path = self.path(volume_id)
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            raise Gone(self._called(volume_id), path) from error
        if not stat.S_ISREG(found.st_mode):
            raise Gone(self._called(volume_id), path)
        return found.st_size

    def sizes(self) -> list[int]:
        """Return the size of each volume, in bytes, as it was set up and changed."""
        return list(self._sizes.values())

    def managed(self) -> dict[UUID, int]:
        """Return each volume with its size in bytes."""
        return dict(self._sizes)

    def make(
        self,
        volume_id: UUID,
        size_bytes: int,
        cause: Cause,
        fill: Fill = blank,
        of: UUID | None = None,
    ) -> None:
        """Make a volume that is not there, of that size at least, whole or not at all.

        What it holds is what `fill` makes the file with; behind that it is zeros.
        """
        making = self._making(volume_id)
        size_bytes = self._build(making, size_bytes, cause, fill, of)
        making.rename(self._home(volume_id))
        self._sizes[volume_id] = size_bytes
        self._names.sync()

    def finish(self, volume_id: UUID, size_bytes: int, cause: Cause) -> None:
        """Make durable what an earlier attempt made, and add what it lacks."""
        with suppress(FileExistsError, FileNotFoundError):
            self.path(volume_id).hardlink_to(self._home(volume_id) / made_by(cause))
        self.grow(volume_id, size_bytes)
        sync(self._home(volume_id))
        self._names.sync()

    def check(self, name: str) -> int:
        """Return how many bytes there are that came in under a name.

        Raises why they cannot become a volume.
        """
        volume_id = reference.volume_of(name)
        if volume_id and os.path.lexists(self._home(volume_id)):
            raise Taken(self._home(volume_id))
        if not reference.NAME.fullmatch(name):
            raise Misnamed(name)
        path = self._incoming / name
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            raise NotThere(path) from error
        if not stat.S_ISREG(found.st_mode):
            raise NotThere(path)
        if found.st_nlink > 1:
            raise Taken(path)
        if held := holders(path):
            raise InUse(path, held)
        return found.st_size

    def take_in(
        self, volume_id: UUID, name: str, size_bytes: int, cause: Cause
    ) -> None:
        """Make what was checked the data of a volume that is not there."""
        came_in = self._incoming / name
        self.make(volume_id, size_bytes, cause, lambda path: path.hardlink_to(came_in))

    def settle_in(self, volume_id: UUID, name: str) -> int:
        """Let what came in be known as the volume alone; returns its bytes."""
        came_in = self._incoming / name
        if os.path.lexists(came_in) and came_in.samefile(self.path(volume_id)):
            came_in.unlink()
            sync(self._incoming)
        return self.size(volume_id)

    def let_go(self, volume_id: UUID, name: str) -> None:
        """Give the data of a volume that is there a name of its own again.

        Raises as `remove` does, and `FileExistsError` where the name is taken.
        """
        left = self._incoming / name
        self._closed(volume_id, self._home(volume_id))
        self._incoming.mkdir(0o700, exist_ok=True)
        try:
            left.hardlink_to(self.path(volume_id))
        except FileExistsError:
            if not left.samefile(self.path(volume_id)):
                raise
        sync(self._incoming)
        self._names.sync()
        self.remove(volume_id, left)

    def is_let_go(self, name: str) -> bool:
        """Tell whether there is something of that name among what came in."""
        return os.path.lexists(self._incoming / name)

    def offers(self) -> Iterator[tuple[str, int, DriverFailed | None]]:
        """Tell of what came in: its name and bytes, and why it must stay there."""
        for name in names(self._incoming) if self._incoming.is_dir() else ():
            with suppress(FileNotFoundError):
                yield name, (self._incoming / name).lstat().st_size, self._why(name)

    def grow(self, volume_id: UUID, size_bytes: int) -> None:
        """Make the volume at least that large, durably, or raise `Gone`."""
        try:
            grown = truncate(self.path(volume_id), size_bytes, os.O_RDWR)
        except FileNotFoundError as error:
            raise Gone(self._called(volume_id), self.path(volume_id)) from error
        self._sizes[volume_id] = grown

    def remove(self, volume_id: UUID, left: Path | None = None) -> None:
        """Remove a volume that is there; under the name of `left` its data stays.

        Raises `StillOpen` if anything uses it, `Crowded` if it is not alone.
        """
        home, deleting = self._home(volume_id), self._deleting(volume_id)
        if strangers := sorted(n for n in names(home) if not is_ours(n)):
            raise Crowded(home, strangers)
        self._closed(volume_id, home)
        home.rename(deleting)
        try:
            # Out of everyone's reach now; somebody may have opened it just before.
            self._closed(volume_id, deleting)
        except (StillOpen, OSError):
            deleting.rename(home)
            raise
        self._sizes.pop(volume_id, None)
        self._names.sync()
        self._drop_names(deleting / DATA, left)
        empty(deleting)

    def remove_made(self, volume_id: UUID, made_at: str) -> None:
        """Remove a volume that was made at that time, and leftovers; as `remove`."""
        self.clean(volume_id)
        made_for = self.cause(volume_id)
        if made_for and made_for.at == made_at:
            self.remove(volume_id)

    def clean(self, volume_id: UUID) -> None:
        """Remove what an operation that was cut short left of this volume."""
        leftovers = [self._making(volume_id), self._deleting(volume_id)]
        if os.path.lexists(self._deleting(volume_id)):
            self._sizes.pop(volume_id, None)  # it is gone, though nobody came to that
        self._discard([path for path in leftovers if os.path.lexists(path)])

    def sweep(self) -> None:
        """Remove what operations that were cut short left of any volume."""
        leftovers = filter(self._leftover.fullmatch, names(self._folder))
        self._discard([self._folder / name for name in leftovers])

    def rehearse(self) -> None:
        """Make a volume and remove it, to see whether the folder takes one."""
        rehearsal = self._making(UUID(int=0))
        self._build(rehearsal, 1, Cause(0, ""), blank, None)
        empty(rehearsal)

    def _found(self) -> Iterator[tuple[UUID, int]]:
        with os.scandir(self._folder) as entries:
            found = [self._home_of.fullmatch(entry.name) for entry in entries]
        for home in filter(None, found):
            with suppress(FileNotFoundError, NotADirectoryError):
                yield UUID(home[1]), os.lstat(self._folder / home[0] / DATA).st_size

    def _called(self, volume_id: UUID) -> str:
        return f"{self._noun} {volume_id}"

    def _home(self, volume_id: UUID) -> Path:
        return self._folder / f"{self._prefix}{volume_id}"

    def _making(self, volume_id: UUID) -> Path:
        return self._folder / f".{self._prefix}{volume_id}.making"

    def _deleting(self, volume_id: UUID) -> Path:
        return self._folder / f".{self._prefix}{volume_id}.deleting"

    def _closed(self, volume_id: UUID, home: Path) -> None:
        if held := holders(home / DATA):
            raise StillOpen(self._called(volume_id), held)

    def _build(
        self, home: Path, size_bytes: int, cause: Cause, fill: Fill, of: UUID | None
    ) -> int:
        home.mkdir(0o700)
        try:
            data = home / made_by(cause)
            fill(data)
            size_bytes = truncate(data, size_bytes, os.O_RDWR | os.O_CREAT)
            (home / DATA).hardlink_to(data)
            if of:
                (home / f"of {of}").hardlink_to(data)
            sync(home)
        except (OSError, DriverFailed):
            with suppress(OSError):
                empty(home)
            raise
        return size_bytes

    def _why(self, name: str) -> DriverFailed | None:
        try:
            self.check(name)
        except DriverFailed as why:
            return why
        return None

    def _drop_names(self, data: Path, left: Path | None) -> None:
        """Drop names among what came in that an operation, cut short, has left."""
        if not self._incoming.is_dir():
            return
        found = data.lstat()
        with os.scandir(self._incoming) as entries:
            alike = [Path(entry) for entry in entries if entry.inode() == found.st_ino]
        for path in alike:
            if path != left and os.path.samestat(found, path.lstat()):
                path.unlink()
                sync(self._incoming)

    def _discard(self, leftovers: list[Path]) -> None:
        for path in leftovers:
            empty(path)
        if leftovers:
            # A removal that was cut short must not be undone by a power cut.
            self._names.sync()


class Names:
    """The names in a directory; those who change some at once share an fsync."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._asked = count(1)
        self._newest = 0
        self._durable = 0
        self._turn = Lock()

    def sync(self) -> None:
        """Make every change durable that was made before."""
        number = self._newest = next(self._asked)
        with self._turn:
            if number > self._durable:
                # Whoever has a number by now has made its change.
                newest = self._newest
                sync(self._directory)
                self._durable = newest


def made_by(cause: Cause) -> str:
    """Return the name by which a volume's data says what made it."""
    return f"made-by {cause.position} {cause.at}"


def cause_in(home: Path) -> Cause:
    """Return what made a volume, as it says itself."""
    for told in filter(None, map(MADE_BY.fullmatch, names(home))):
        return Cause(int(told[1]), told[2])
    return msgspec.json.decode((home / OLD_MADE_BY).read_bytes(), type=Cause)


def is_ours(name: str) -> bool:
    """Tell whether we put something of that name beside a volume's data."""
    return name in (DATA, OLD_MADE_BY) or any(p.fullmatch(name) for p in (MADE_BY, OF))


def names(directory: Path) -> set[str]:
    """Return the names of what is in a directory."""
    return {entry.name for entry in directory.iterdir()}


def empty(home: Path) -> None:
    """Remove a directory and the files that we put into it."""
    for name in filter(is_ours, names(home)):
        (home / name).unlink(missing_ok=True)
    home.rmdir()


def truncate(path: Path, size_bytes: int, flags: int) -> int:
    """Make the file at least that large, durably, and return how large it is now."""
    file = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(file).st_size
        if size < size_bytes:
            os.ftruncate(file, size_bytes)
        os.fsync(file)
        return max(size, size_bytes)
    finally:
        os.close(file)


def sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""What lies on the disk, and how it gets there whole.

    <folder>/<volume id>/volume         the data, a sparse file
    <folder>/<volume id>/made-by 7 2026-01-01T00:00:00+00:00
                                        what made it: position in the log, and time
    <folder>/.<volume id>.making        half-made; with how far a copy is: `bookmark`
    <folder>/.<volume id>.deleting      half-removed
    <folder>/snapshot-<snapshot id>/…   likewise a snapshot
    <folder>/snapshot-<snapshot id>/of <volume id>
                                        what it is of
    <folder>/incoming/<name>            what may become a volume, or was one
    <folder>/incoming-snapshots/<volume id>/<name>
                                        likewise a snapshot of that volume
    <folder>/.backend                   whose the folder is: `owner`

While a volume is reverted there is more beside its data:

    reverted-by 9 2026-01-02T00:00:00+00:00
                                        what it is to hold, whole, or has got so
    before                              what it held, until that is done

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

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec

from adapters.durable_file import sync
from adapters.file.bookmark import bookmarks, drop
from adapters.file.durable import (
    Names,
    alone,
    emptied_on_failure,
    empty,
    is_left_alone,
    replace,
    truncate,
)
from adapters.file.failures import (
    Crowded,
    CutShort,
    Gone,
    InUse,
    MadeForAnother,
    Misnamed,
    NoFolder,
    NotThere,
    OutOfSight,
    StillOpen,
    Taken,
    Unexplained,
)
from adapters.file.naming import (
    BEFORE,
    DATA,
    ID,
    MADE_BY,
    NEW,
    REVERTED_BY,
    cause_in,
    made_by,
    names,
    readable,
    said_to_be_of,
    strangers,
)
from adapters.file.still import holds_still
from adapters.holders import holders
from domain import reference
from domain.ports import Cause, DriverFailed, Object, Untidy

logger = logging.getLogger(__name__)

INCOMING = "incoming"
VOLUME = re.compile(ID)

Fill = Callable[[Path], None]
Fits = Callable[[Path, int], None]


def whatever(path: Path, size_bytes: int) -> None:
    """Raise nothing: a volume may have been of any size."""


class Kind(NamedTuple):
    """What lies in the folder, and under which names it comes in."""

    noun: str
    incoming: str
    id_in: Callable[[str], UUID | None]


class Places(NamedTuple):
    """Where a volume is, and where it is while it is half-made or half-removed."""

    home: Path
    data: Path
    making: Path
    deleting: Path

    @classmethod
    def of(cls, folder: Path, prefix: str, volume_id: UUID) -> Places:
        """Return those of a volume in a folder, or of a snapshot."""
        name = f"{prefix}{volume_id}"
        home = folder / name
        making, deleting = folder / f".{name}.making", folder / f".{name}.deleting"
        return cls(home, home / DATA, making, deleting)


SNAPSHOT = "snapshot-"  # what the name of a snapshot begins with
KINDS = {
    "": Kind("volume", INCOMING, reference.volume_of),
    SNAPSHOT: Kind("snapshot", f"{INCOMING}-snapshots", reference.snapshot_of),
}


class Volumes:
    """The volumes in one folder, or its snapshots."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix
        self._kind = KINDS[prefix]
        self.incoming = folder / self._kind.incoming
        self._home_of = re.compile(f"{prefix}({ID})")
        self._leftover = re.compile(rf"\.{prefix}{ID}\.(?:making|deleting)")
        self._seen: os.stat_result | None = None
        self._names = Names(folder)
        # A path takes as long to put together as what is asked of the system by it.
        self._places = lru_cache(maxsize=64)(partial(Places.of, folder, prefix))
        # Looking at 10,000 volumes takes 70 ms, so what is there is looked at once.
        self._sizes: dict[UUID, int] = {}

    def set_up(self) -> None:
        """Make the folder if there is none, and remember what it is and has.

        Raises `OutOfSight` where it was set up before and is another one now.
        """
        if self._seen:
            self.look()
        elif not self._folder.is_dir():
            above = [self._folder, *self._folder.parents]
            made = [each for each in above if not each.exists()]
            self._folder.mkdir(0o700, parents=True)
            for each in made:
                sync(each.parent)
        self._seen = self._folder.stat()
        self._sizes = dict(self._found())

    def is_blank(self) -> bool:
        """Tell whether nothing shows that the folder was ever set up."""
        there = self._seen or self.incoming.is_dir()
        return not there and not (self._folder.is_dir() and any(self._found()))

    def open_incoming(self) -> None:
        """Make a place for what may come in, which shows that the folder is ours."""
        if not self.incoming.is_dir():
            self.incoming.mkdir(0o700)
            self._names.sync()

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
        return self._places(volume_id).data

    def cause(self, volume_id: UUID) -> Cause | None:
        """Return what made the volume, None if it is absent; or raise why not."""
        home = self._home(volume_id)
        try:
            if not stat.S_ISDIR(home.lstat().st_mode):
                raise NoFolder(home)
        except FileNotFoundError:
            return None
        try:
            return cause_in(home)
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            if not os.path.lexists(home):
                return None
            raise Unexplained(home) from error

    def made_by(self, volume_id: UUID) -> Cause | None:
        """Return what `cause` does, once leftovers are removed."""
        self.clean(volume_id)
        return self.cause(volume_id)

    def is_made(self, volume_id: UUID, cause: Cause) -> bool:
        """Tell whether it was made for the cause, once leftovers of others are removed.

        Raises `MadeForAnother`, or what `cause` does.
        """
        self.clean(volume_id, cause)
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

    def whole(self, volume_id: UUID, size_bytes: int) -> Path:
        """Return where its data is, or raise `Gone`, or `CutShort` if it has less."""
        path, found = self.path(volume_id), self.size(volume_id)
        if found < size_bytes:
            raise CutShort(self._called(volume_id), path, found, size_bytes)
        return path

    def sizes(self) -> list[int]:
        """Return the size of each volume, in bytes, as it was set up and changed."""
        return list(self._sizes.values())

    def managed(self) -> dict[UUID, int]:
        """Return each volume with its size in bytes."""
        return dict(self._sizes)

    def objects(self) -> Iterator[Object]:
        """Tell of each that is there, what it says of itself, and what is not ours."""
        for volume_id, size_bytes in self._found():
            home = self._home(volume_id)
            if home.is_symlink():  # nothing of ours, and nothing is done to it
                continue
            with suppress(FileNotFoundError, NotADirectoryError):
                beside = names(home)
                of = said_to_be_of(beside)
                cause = self._said(home)
                lacks = [] if cause else ["what made it"]
                if self._prefix and not of:
                    lacks.append("what it is of")
                yield Object(
                    name=home.name,
                    size_bytes=size_bytes,
                    noun=self._kind.noun,
                    id=volume_id,
                    made_at=cause.at if cause else None,
                    of=of[0] if of else None,
                    lacks=tuple(lacks),
                )
                for name in strangers(home, beside):
                    called = readable(f"{home.name}/{name}")
                    yield Object(called, (home / name).lstat().st_size)

    def is_leftover(self, name: str) -> bool:
        """Tell whether something in the folder is half-made or half-removed."""
        return self._leftover.fullmatch(name) is not None

    def mark(self, volume_id: UUID, cause: Cause, of: UUID | None) -> None:
        """Let a volume that is there say again what made it, and what it is of.

        Raises `MadeForAnother` where it says something else.
        """
        home, data = self._home(volume_id), self.path(volume_id)
        self.size(volume_id)
        said = self._said(home)
        said_of = said_to_be_of(names(home))
        if (said and said.at != cause.at) or {*said_of} - {of}:
            raise MadeForAnother(home, said or cause)
        if not said:
            (home / made_by(cause)).hardlink_to(data)
        if of and not said_of:
            (home / f"of {of}").hardlink_to(data)
        sync(home)

    def make(
        self,
        volume_id: UUID,
        size_bytes: int,
        cause: Cause,
        fill: Fill | None = None,
        of: UUID | None = None,
    ) -> None:
        """Make a volume that is not there, of that size at least, whole or not at all.

        What it holds is what `fill` makes the file with, if anything does; behind that
        it is zeros.
        """
        with self.filled(volume_id, cause, fill):
            self.complete(volume_id, size_bytes, cause, of)

    @contextmanager
    def filled(
        self, volume_id: UUID, cause: Cause, fill: Fill | None
    ) -> Iterator[None]:
        """Fill the data of a volume that is not there, for `complete`.

        What an earlier attempt has left for the cause is there to go on with; nobody
        else does.
        """
        making = self._making(volume_id)
        making.mkdir(0o700, exist_ok=True)
        with alone(making), emptied_on_failure(making):
            if fill:
                fill(making / made_by(cause))
            yield

    def complete(
        self, volume_id: UUID, size_bytes: int, cause: Cause, of: UUID | None = None
    ) -> None:
        """Let there be a volume of what has been filled, durably."""
        making = self._making(volume_id)
        data = making / made_by(cause)
        filled = os.path.lexists(data)
        size_bytes = truncate(data, size_bytes, os.O_RDWR | os.O_CREAT)
        if filled:  # of a group, the others may have taken hours since
            drop(bookmarks(making))
        (making / DATA).hardlink_to(data)
        if of:
            (making / f"of {of}").hardlink_to(data)
        sync(making)
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

    def of(self, snapshot_id: UUID) -> UUID:
        """Return which volume a snapshot that is there is of."""
        if volume_id := self.said_of(snapshot_id):
            return volume_id
        raise Unexplained(self._home(snapshot_id))

    def said_of(self, snapshot_id: UUID) -> UUID | None:
        """Return which volume a snapshot says that it is of, if it says so."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return next(iter(said_to_be_of(names(self._home(snapshot_id)))), None)
        return None

    def expected(self) -> Iterator[UUID]:
        """Tell of which volumes a snapshot may have come in."""
        for name in names(self.incoming) if self.incoming.is_dir() else ():
            if VOLUME.fullmatch(name):
                yield UUID(name)

    def check(self, incoming: Path, name: str) -> int:
        """Return how many bytes there are that came in under a name.

        Raises why they cannot become a volume, or a snapshot.
        """
        volume_id = self._kind.id_in(name)
        if volume_id and os.path.lexists(self._home(volume_id)):
            raise Taken(self._home(volume_id))
        if not reference.NAME.fullmatch(name):
            raise Misnamed(name)
        path = incoming / name
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            raise NotThere(self._kind.noun, path) from error
        if not stat.S_ISREG(found.st_mode):
            raise NotThere(self._kind.noun, path)
        if found.st_nlink > 1:
            raise Taken(path)
        if held := holders(path):
            raise InUse(path, held)
        return found.st_size

    def settle_in(self, volume_id: UUID, came_in: Path) -> int:
        """Let what came in be known as the volume alone; returns its bytes."""
        if os.path.lexists(came_in) and came_in.samefile(self.path(volume_id)):
            came_in.unlink()
            sync(came_in.parent)
        return self.size(volume_id)

    def let_go(self, volume_id: UUID, left: Path) -> None:
        """Give the data of a volume that is there a name of its own again.

        Raises as `remove` does, and `FileExistsError` where the name is taken.
        """
        self._closed(volume_id, self._home(volume_id))
        for above in (left.parent.parent, left.parent):
            above.mkdir(0o700, exist_ok=True)
        try:
            left.hardlink_to(self.path(volume_id))
        except FileExistsError:
            if not left.samefile(self.path(volume_id)):
                raise
        sync(left.parent)
        sync(left.parent.parent)
        self._names.sync()
        self.remove(volume_id, left)

    def offers(
        self, incoming: Path, fits: Fits = whatever
    ) -> Iterator[tuple[str, int, DriverFailed | None]]:
        """Tell of what came in: its name and bytes, and why it must stay there.

        `fits` raises for what is known of it elsewhere.
        """
        for name in names(incoming) if incoming.is_dir() else ():
            with suppress(FileNotFoundError):
                found = (incoming / name).lstat()
                yield name, found.st_size, self._why(incoming, name, fits)

    def grow(self, volume_id: UUID, size_bytes: int) -> None:
        """Make the volume at least that large, durably, or raise `Gone`."""
        try:
            grown = truncate(self.path(volume_id), size_bytes, os.O_RDWR)
        except FileNotFoundError as error:
            raise Gone(self._called(volume_id), self.path(volume_id)) from error
        self._sizes[volume_id] = grown

    def check_removable(self, volume_id: UUID) -> None:
        """Raise what `remove` would; an absent one keeps nobody."""
        home = self._home(volume_id)
        with suppress(FileNotFoundError):
            if others := strangers(home, names(home)):
                raise Crowded(home, [*map(readable, others)])
        self._closed(volume_id, home)

    def is_reverted(self, volume_id: UUID, cause: Cause) -> bool:
        """Tell whether what it is to hold has been brought, once leftovers are gone."""
        self.clean(volume_id, cause)
        return os.path.lexists(self._reverted_by(volume_id, cause))

    def bring(self, volume_id: UUID, cause: Cause, fill: Fill) -> None:
        """Put what a volume is to hold beside its data, whole or not at all."""
        home, making = self._home(volume_id), self._making(volume_id)
        size_bytes = self.size(volume_id)
        self._closed(volume_id, home)
        with self.filled(volume_id, cause, fill):
            truncate(making / made_by(cause), size_bytes, os.O_RDWR)
            drop(bookmarks(making))
            (making / made_by(cause)).rename(self._reverted_by(volume_id, cause))
            sync(home)
            making.rmdir()

    def revert(self, volume_id: UUID, cause: Cause) -> None:
        """Let a volume hold what was brought for that, and know it by all its names.

        Raises `StillOpen` if anything has opened it.
        """
        home, data = self._home(volume_id), self.path(volume_id)
        brought, before = self._reverted_by(volume_id, cause), home / BEFORE
        if not data.samefile(brought):
            self._closed(volume_id, home)
            before.unlink(missing_ok=True)
            before.hardlink_to(data)
            replace(data, brought)
            try:
                # Out of everyone's reach now; somebody may have opened it just before.
                self._closed(volume_id, home, BEFORE)
                sync(home)
            except (StillOpen, OSError):
                before.rename(data)
                raise
        for name in filter(MADE_BY.fullmatch, names(home)):
            replace(home / name, brought)
        before.unlink(missing_ok=True)
        for name in filter(REVERTED_BY.fullmatch, names(home) - {brought.name}):
            (home / name).unlink()
        sync(home)

    @contextmanager
    def taken_back_on_failure(self, volume_id: UUID, cause: Cause) -> Iterator[None]:
        """Remove what was brought for a volume that is not going to hold it.

        Who asks for that again does so for another cause, and brings it anew. Raises
        `Untidy` where the volume holds it.
        """
        try:
            yield
        except DriverFailed as failure:
            brought = self._reverted_by(volume_id, cause)
            with suppress(OSError):
                if self.path(volume_id).samefile(brought):
                    raise Untidy(volume_id, failure) from failure
                brought.unlink()
            raise

    def remove(self, volume_id: UUID, left: Path | None = None) -> None:
        """Remove a volume that is there; under the name of `left` its data stays.

        Raises `StillOpen` if anything uses it, `Crowded` if it is not alone.
        """
        home, deleting = self._home(volume_id), self._deleting(volume_id)
        self.check_removable(volume_id)
        home.rename(deleting)
        try:
            # Out of everyone's reach now; somebody may have opened it just before.
            self._closed(volume_id, deleting)
        except (StillOpen, OSError):
            deleting.rename(home)
            raise
        self._sizes.pop(volume_id, None)
        self._names.sync()
        self._drop_names(deleting, left)
        empty(deleting)

    def remove_made(self, volume_id: UUID, made_at: str) -> None:
        """Remove a volume that was made at that time, and leftovers; as `remove`."""
        made_for = self.made_by(volume_id)
        if made_for and made_for.at == made_at:
            self.remove(volume_id)

    def clean(self, volume_id: UUID, cause: Cause | None = None) -> None:
        """Remove what an operation that was cut short left of this volume.

        A copy that was begun for the cause, and says how far it is, stays.
        """
        making, deleting = self._making(volume_id), self._deleting(volume_id)
        there = [*filter(os.path.lexists, (making, deleting))]
        if deleting in there:
            self._sizes.pop(volume_id, None)  # it is gone, though nobody came to that
        self._discard([path for path in there if not self._goes_on(path, cause)])

    def sweep(self) -> None:
        """Remove what operations that were cut short left of any volume.

        Copies that say how far they are wait for whoever asks for them again. What
        cannot be removed stays: no other volume has to wait for it.
        """
        found = filter(self.is_leftover, names(self._folder))
        for path in [self._folder / name for name in found]:
            try:
                if not bookmarks(path):
                    self._discard([path])
            except OSError as error:
                logger.warning("%s is left of a volume, and stays: %s", path, error)

    def rehearse(self) -> bool:
        """Make a volume and remove it, to see whether the folder takes one.

        Returns whether one can be held still.
        """
        rehearsal = self._making(UUID(int=0))
        rehearsal.mkdir(0o700)
        with emptied_on_failure(rehearsal):
            truncate(rehearsal / DATA, 1, os.O_RDWR | os.O_CREAT)
            (rehearsal / NEW).hardlink_to(rehearsal / DATA)
            sync(rehearsal)
            can_be_held = holds_still(rehearsal / DATA)
        empty(rehearsal)
        return can_be_held

    def _goes_on(self, making: Path, cause: Cause | None) -> bool:
        """Tell whether what is half-made is of the cause, and of nobody alive."""
        ours = cause and made_by(cause) in names(making)
        return bool(ours and bookmarks(making) and is_left_alone(making))

    def _said(self, home: Path) -> Cause | None:
        """Return what made it, as it says itself, if it does."""
        with suppress(FileNotFoundError, msgspec.MsgspecError):
            return cause_in(home)
        return None

    def _found(self) -> Iterator[tuple[UUID, int]]:
        with os.scandir(self._folder) as entries:
            found = [self._home_of.fullmatch(entry.name) for entry in entries]
        for home in filter(None, found):
            with suppress(FileNotFoundError, NotADirectoryError):
                data = os.lstat(self._folder / home[0] / DATA)
                if stat.S_ISREG(data.st_mode):
                    yield UUID(home[1]), data.st_size

    def _called(self, volume_id: UUID) -> str:
        return f"{self._kind.noun} {volume_id}"

    def _home(self, volume_id: UUID) -> Path:
        return self._places(volume_id).home

    def _making(self, volume_id: UUID) -> Path:
        return self._places(volume_id).making

    def _deleting(self, volume_id: UUID) -> Path:
        return self._places(volume_id).deleting

    def _closed(self, volume_id: UUID, home: Path, name: str = DATA) -> None:
        if held := holders(home / name):
            raise StillOpen(self._called(volume_id), held)

    def _reverted_by(self, volume_id: UUID, cause: Cause) -> Path:
        return self._home(volume_id) / f"reverted-by {cause.position} {cause.at}"

    def _why(self, incoming: Path, name: str, fits: Fits) -> DriverFailed | None:
        try:
            fits(incoming / name, self.check(incoming, name))
        except DriverFailed as why:
            return why
        return None

    def _drop_names(self, home: Path, left: Path | None) -> None:
        """Drop names among what came in that an operation, cut short, has left."""
        incoming = self.incoming.joinpath(*map(str, said_to_be_of(names(home))))
        if not incoming.is_dir() or not os.path.lexists(home / DATA):
            return
        found = (home / DATA).lstat()
        with os.scandir(incoming) as entries:
            alike = [Path(entry) for entry in entries if entry.inode() == found.st_ino]
        for path in alike:
            if path != left and os.path.samestat(found, path.lstat()):
                path.unlink()
                sync(incoming)

    def _discard(self, leftovers: list[Path]) -> None:
        for path in leftovers:
            empty(path)
        if leftovers:
            # A removal that was cut short must not be undone by a power cut.
            self._names.sync()

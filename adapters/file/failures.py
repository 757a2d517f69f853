"""Trouble with files, in sentences an operator can act on."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

from adapters.refused import SystemRefused, in_words_of
from domain.ports import (
    AlreadyManaged,
    Cause,
    DriverFailed,
    UnknownReference,
    VolumeIsBusy,
)

GIB = 1024**3


class NoSpace(DriverFailed):
    """The folder's filesystem has no room for what was asked."""

    code = "no_space"


class NoRoom(NoSpace):
    """More was asked for than the free space and the over-subscription allow."""

    def __init__(self, folder: Path, more_bytes: int, free: int, ratio: float) -> None:
        super().__init__(folder, more_bytes, free, ratio)
        self.folder = folder
        self.more_bytes = more_bytes
        self.free_bytes = free
        self.ratio = ratio

    def __str__(self) -> str:
        return (
            f"{self.more_bytes / GIB:.2f} GiB more do not fit in {self.folder}, which "
            f"has {self.free_bytes / GIB:.2f} GiB free and may promise {self.ratio:g} "
            "times that; free some space or choose another backend"
        )


class FilesystemFull(SystemRefused, NoSpace):
    """The operating system found no space, whatever it had said was free."""


# fmt: off
REFUSALS = {
    errno.ENOSPC:  (FilesystemFull, "free blocks or inodes, or use another backend"),
    errno.EDQUOT:  (FilesystemFull, "raise the quota of the agent's user"),
    errno.EFBIG:   (SystemRefused,  "the filesystem allows no file that large"),
    errno.EROFS:   (SystemRefused,  "see in the kernel log why, and remount it"),
    errno.EACCES:  (SystemRefused,  "let the agent's user own the folder"),
    errno.EPERM:   (SystemRefused,  "let the agent's user own the folder"),
    errno.EEXIST:  (SystemRefused,  "move it away, or name another folder"),
    errno.ENOTDIR: (SystemRefused,  "move it away, or name another folder"),
    errno.EIO:     (SystemRefused,  "see in the kernel log whether the disk fails"),
}
# fmt: on
OTHERWISE = (SystemRefused, "look at the folder and in the kernel log")

in_words = partial(in_words_of, REFUSALS, OTHERWISE)


class OutOfSight(DriverFailed):
    """The folder is not the one that was set up, so what it lacks may be elsewhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return (
            f"{self.folder} is not the folder that was set up; see that its disk is "
            "mounted, then restart the agent"
        )


class Unrecognized(DriverFailed):
    """The folder is as if nobody had ever set it up, which somebody has."""

    def __init__(self, folder: Path, backend: str) -> None:
        super().__init__(folder, backend)
        self.folder = folder
        self.backend = backend

    def __str__(self) -> str:
        return (
            f"{self.folder} has nothing of backend {self.backend}, which was usable "
            "before; see that its disk is mounted. Only to begin anew in this folder, "
            f"run `holdfast backend initialize {self.backend}`"
        )


class Gone(DriverFailed):
    """The file of a volume or a snapshot is not there."""

    def __init__(self, what: str, path: Path) -> None:
        super().__init__(what, path)
        self.what = what
        self.path = path

    def __str__(self) -> str:
        return f"{self.what} is gone: there is no file {self.path}"


class CutShort(DriverFailed):
    """The file of a volume or a snapshot has lost its end."""

    def __init__(self, what: str, path: Path, found: int, expected: int) -> None:
        super().__init__(what, path, found, expected)
        self.what = what
        self.path = path
        self.found_bytes = found
        self.expected_bytes = expected

    def __str__(self) -> str:
        return (
            f"{self.what} is cut short, so nothing was made of it: {self.path} has "
            f"{self.found_bytes} bytes, and {self.expected_bytes} are expected; put "
            "the whole file back, or use another"
        )


class Unexplained(DriverFailed):
    """Something of the volume's name is there, and nothing says what made it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"{self.path} is in the way: it does not say which event made it, so it "
            "is left alone; look at it, and move it out of the folder"
        )


class MadeForAnother(AlreadyManaged):
    """A volume of that name is there, made for another event."""

    def __init__(self, path: Path, cause: Cause) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"{self.path} was made for the event at position {self.cause.position} "
            f"({self.cause.at}), not for this one, so it is left alone; is the folder "
            "used by another Holdfast, or older than its log?"
        )


class Crowded(DriverFailed):
    """Beside the volume there is something that we did not put there."""

    def __init__(self, path: Path, strangers: list[str]) -> None:
        super().__init__(path, strangers)
        self.path = path
        self.strangers = strangers

    def __str__(self) -> str:
        return (
            f"{self.path} also holds {', '.join(self.strangers)}, which Holdfast did "
            "not put there; move it away first"
        )


class StillOpen(VolumeIsBusy):
    """Something has the file of a volume or a snapshot open."""

    def __init__(self, what: str, holders: list[str]) -> None:
        super().__init__(what, holders)
        self.what = what
        self.holders = holders

    def __str__(self) -> str:
        return f"{self.what} is in use by {', '.join(self.holders)}"


class Written(VolumeIsBusy):
    """A file may be written while it is to be read as it is at one moment."""

    def __init__(self, path: Path, holders: list[str]) -> None:
        super().__init__(path, holders)
        self.path = path
        self.holders = holders

    def __str__(self) -> str:
        by = ", ".join(self.holders) or "something that has let go of it since"
        return (
            f"{self.path} is in use by {by}, so it cannot be read as it is at one "
            "moment; detach it, or keep volumes on XFS or btrfs, where that is no "
            "hindrance"
        )


class NotThere(UnknownReference):
    """No file came in under that name, to become a volume or a snapshot."""

    def __init__(self, noun: str, path: Path) -> None:
        super().__init__(noun, path)
        self.noun = noun
        self.path = path

    def __str__(self) -> str:
        return (
            f"there is no plain file {self.path}; put the image there, by its name "
            f"alone, or see what `holdfast {self.noun} manageable` lists"
        )


class NoSnapshot(UnknownReference):
    """A file came in for a volume, and is no snapshot of it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path} is no snapshot of its volume: {self.why}"


class Misnamed(UnknownReference):
    """A file has a name that no reference can hold."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"{self.name!r} is no name to refer to: rename the file to letters, "
            "digits, _, +, . and -, 127 at most, beginning with none of the last two"
        )


class Taken(AlreadyManaged):
    """A file is a volume's or a snapshot's, or has another name besides."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"already managed: {self.path} is a volume's or a snapshot's, or has other "
            "hard links"
        )


class InUse(VolumeIsBusy):
    """Something has a file open that is to become a volume or a snapshot."""

    def __init__(self, path: Path, holders: list[str]) -> None:
        super().__init__(path, holders)
        self.path = path
        self.holders = holders

    def __str__(self) -> str:
        return f"{self.path} is in use by {', '.join(self.holders)}"

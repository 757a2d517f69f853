"""Trouble with files, in sentences an operator can act on."""

from __future__ import annotations

import errno
import shlex
from dataclasses import dataclass
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


@dataclass(eq=False)
class NoRoom(NoSpace):
    """More was asked for than the free space and the over-subscription allow."""

    folder: Path
    more_bytes: int
    free_bytes: int
    ratio: float

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


@dataclass(eq=False)
class OutOfSight(DriverFailed):
    """The folder is not the one that was set up, so what it lacks may be elsewhere."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"{self.folder} is not the folder that was set up; see that its disk is "
            "mounted, and it is used again by itself. Only to use what is there now, "
            "restart the agent"
        )


@dataclass(eq=False)
class Unrecognized(DriverFailed):
    """The folder is as if nobody had ever set it up, which somebody has."""

    folder: Path
    backend: str

    def __str__(self) -> str:
        return (
            f"{self.folder} has nothing of backend {self.backend}, which was usable "
            "before; see that its disk is mounted. Only to begin anew in this folder, "
            f"run `holdfast backend initialize {self.backend}`"
        )


@dataclass(eq=False)
class AnothersFolder(DriverFailed):
    """The folder says that it is another backend's."""

    code = "anothers_folder"

    link: Path
    owner: str

    def __str__(self) -> str:
        return (
            f"{self.link.parent} is the folder of backend {self.owner}, as "
            f"{self.link.name} in it says, and two would promise the same room; name "
            "another folder. Has this backend had that name, give it back in the "
            "settings, for its volumes remain that one's; only where it has none any "
            f"more, run `rm {shlex.quote(str(self.link))}`"
        )


@dataclass(eq=False)
class Gone(DriverFailed):
    """The file of a volume or a snapshot is not there."""

    what: str
    path: Path

    def __str__(self) -> str:
        return f"{self.what} is gone: there is no file {self.path}"


@dataclass(eq=False)
class CutShort(DriverFailed):
    """The file of a volume or a snapshot has lost its end."""

    what: str
    path: Path
    found_bytes: int
    expected_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.what} is cut short, so nothing was made of it: {self.path} has "
            f"{self.found_bytes} bytes, and {self.expected_bytes} are expected; put "
            "the whole file back, or use another"
        )


@dataclass(eq=False)
class Unexplained(DriverFailed):
    """Something of the volume's name is there, and nothing says what made it."""

    path: Path

    def __str__(self) -> str:
        return (
            f"{self.path} is in the way: it does not say which event made it, so it "
            "is left alone; look at it, and move it out of the folder"
        )


@dataclass(eq=False)
class NoFolder(DriverFailed):
    """Something of the volume's name is there that is no folder, as a link to one."""

    path: Path

    def __str__(self) -> str:
        return (
            f"{self.path} is in the way: it is no folder but a file or a link, so it "
            "is left alone; put the volume's folder itself there, or move it out of "
            "the folder"
        )


@dataclass(eq=False)
class MadeForAnother(AlreadyManaged):
    """A volume of that name is there, made for another event."""

    path: Path
    cause: Cause

    def __str__(self) -> str:
        return (
            f"{self.path} was made for the event at position {self.cause.position} "
            f"({self.cause.at}), not for this one, so it is left alone; is the folder "
            "used by another Holdfast, or older than its log?"
        )


@dataclass(eq=False)
class Crowded(DriverFailed):
    """Beside the volume there is something that we did not put there."""

    path: Path
    strangers: list[str]

    def __str__(self) -> str:
        return (
            f"{self.path} also holds {', '.join(self.strangers)}, which Holdfast did "
            "not put there; move it away first"
        )


@dataclass(eq=False)
class StillOpen(VolumeIsBusy):
    """Something has the file of a volume or a snapshot open."""

    what: str
    holders: list[str]

    def __str__(self) -> str:
        return f"{self.what} is in use by {', '.join(self.holders)}"


@dataclass(eq=False)
class Written(VolumeIsBusy):
    """A file may be written while it is to be read as it is at one moment."""

    path: Path
    holders: list[str]

    def __str__(self) -> str:
        by = ", ".join(self.holders) or "something that has let go of it since"
        return (
            f"{self.path} is in use by {by}, so it cannot be read as it is at one "
            "moment; detach it, or keep volumes on XFS or btrfs, where that is no "
            "hindrance"
        )


@dataclass(eq=False)
class NotThere(UnknownReference):
    """No file came in under that name, to become a volume or a snapshot."""

    noun: str
    path: Path

    def __str__(self) -> str:
        return (
            f"there is no plain file {self.path}; put the image there, by its name "
            f"alone, or see what `holdfast {self.noun} manageable` lists"
        )


@dataclass(eq=False)
class NoSnapshot(UnknownReference):
    """A file came in for a volume, and is no snapshot of it."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path} is no snapshot of its volume: {self.why}"


@dataclass(eq=False)
class Misnamed(UnknownReference):
    """A file has a name that no reference can hold."""

    name: str

    def __str__(self) -> str:
        return (
            f"{self.name!r} is no name to refer to: rename the file to letters, "
            "digits, _, +, . and -, 127 at most, beginning with none of the last two"
        )


@dataclass(eq=False)
class Taken(AlreadyManaged):
    """A file is a volume's or a snapshot's, or has another name besides."""

    path: Path

    def __str__(self) -> str:
        return (
            f"already managed: {self.path} is a volume's or a snapshot's, or has other "
            "hard links"
        )


@dataclass(eq=False)
class InUse(VolumeIsBusy):
    """Something has a file open that is to become a volume or a snapshot."""

    path: Path
    holders: list[str]

    def __str__(self) -> str:
        return f"{self.path} is in use by {', '.join(self.holders)}"

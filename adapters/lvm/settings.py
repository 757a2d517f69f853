"""What LVM is run with: settings of our own, which say where it looks for disks.

It looks everywhere until it has found the group, and from then on at the group's disks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from adapters.lvm import fronts
from adapters.lvm.failures import NotWritten
from adapters.lvm.mapper import mapped
from adapters.refused import in_words_of

Links = Mapping[str, str]  # the disk that each leads to

NARROW = "narrow"  # the folder of settings for looking at the group's disks alone
CHOSEN = "chosen-among"  # in it: what there was to look at when they were chosen
DEVICES = Path("/sys/class/block")
MADE = ("LVM-", fronts.UUID_PREFIX)  # what device-mapper's uuids of LVM's and ours are


def environment(system_dir: Path) -> dict[str, str]:
    """Return what every `lvm` of ours runs with."""
    ours = {
        "LC_ALL": "C",
        SYSTEM_DIR: str(system_dir),
        "LVM_COMMAND_PROFILE": PROFILE_NAME,
        "LVM_SUPPRESS_FD_WARNINGS": "1",
        "GLIBC_TUNABLES": ":".join(KEPT),
    }
    if not has_udev():
        ours["DM_DISABLE_UDEV"] = "1"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {"PATH": path, **ours}


def has_udev() -> bool:
    """Tell whether an udevd makes device nodes here."""
    return Path("/run/udev/control").exists()


# A group's description takes megabytes. LVM locks its memory: what it gives back after
# one command, it has to get page by page for the next, a fifth or a half of its time.
KEPT = (
    "glibc.malloc.trim_threshold=268435456",
    "glibc.malloc.mmap_threshold=33554432",
)
SYSTEM_DIR = "LVM_SYSTEM_DIR"
CONF_NAME = "lvm.conf"
PROFILE_NAME = "holdfast"
PROFILE = """\
global { suffix=0 units="b" }
report { output_format="json" }
log {
    report_command_log=1
    command_log_sort="log_seq_num"
    command_log_cols="log_type,log_message,log_ret_code"
    command_log_selection="all"
}
"""
CONF = """\
# Written by Holdfast at each start.
global {{
    proc = "{proc}"
    use_aio = 0    # 45 ms a command otherwise
    use_lvmpolld = 0
    thin_check_options = [ "-q", "--clear-needs-check-flag" ]
}}
devices {{
    # What a tenant wrote into a volume is not ours to look at.
    global_filter = [ {filters} ]
    scan = [ "{scan}" ]
    obtain_device_list_from_udev = 0    # or it would look elsewhere
    hints = "none"    # they are for those who look at the same devices
    issue_discards = 0
}}
activation {{
    udev_sync = {udev}
    udev_rules = {udev}
    monitoring = 0
    use_mlockall = 1    # else one call a mapping, which is a sixth of all
    reserved_stack = 0
    reserved_memory = 0
    process_priority = 0
}}
backup {{
    backup = 0    # the log knows what was made
    archive = 0
}}
"""


def write_system_dir(folder: Path, devices: Sequence[str]) -> None:
    """Write LVM's settings for us: only these devices (none: all) are looked at.

    The folder has the name of the group, whose volumes are none of its disks. Raises
    `NotWritten`.
    """
    filters = [f'"r|^/dev/{folder.name}/|"', f'"r|^{fronts.FOLDER}/{fronts.PREFIX}|"']
    if devices:
        filters += [f'"a|^{device}$|"' for device in devices] + ['"r|.*|"']
    with writing():
        write_settings(folder, "/dev", filters, Path("/proc"))


def write_narrow_dir(system_dir: Path, disks: Sequence[str]) -> tuple[Path, Links]:
    """Write settings with which LVM sees links alone; return where, and whose they are.

    It finds no `/sys`, where it would look up each logical volume: what it asks there
    about disks (are they parts of others?) was answered when it chose these. Raises
    `NotWritten`.
    """
    folder = system_dir / NARROW
    seen, proc = folder / "dev", folder / "proc"
    links = {str(seen / d.removeprefix("/dev/").replace("/", "!")): d for d in disks}
    with writing():
        remove(folder)
        for link, to in {**links, str(proc / "devices"): "/proc/devices"}.items():
            Path(link).parent.mkdir(0o700, parents=True, exist_ok=True)
            Path(link).symlink_to(to)
        write_settings(folder, str(seen), [f'"a|^{seen}/|"', '"r|.*|"'], proc)
    with suppress(OSError):
        write(folder / CHOSEN, surroundings(system_dir))
    return folder, links


def disks_before(system_dir: Path) -> list[str]:
    """Return the disks that LVM chose last, if it would choose no others now.

    They are none if it has other settings, or there are other devices.
    """
    narrow = system_dir / NARROW
    try:
        if (narrow / CHOSEN).read_bytes() != surroundings(system_dir).encode():
            return []
        return [str(link.readlink()) for link in (narrow / "dev").iterdir()]
    except OSError:
        return []


def surroundings(system_dir: Path) -> str:
    """Return among what LVM chooses its disks: its settings, and all devices.

    What LVM or we have made is none that it could choose.
    """
    with os.scandir("/dev") as entries:
        groups = [it for it in entries if it.is_dir(follow_symlinks=False)]
    lvs = {mapped(it.name, lv.name) for it in groups for lv in Path(it.path).iterdir()}
    # To ask who has made each of them would take a tenth of a second for a thousand.
    others = (it.name for it in fronts.FOLDER.iterdir() if it.name not in lvs)
    others = (name for name in others if not is_made(fronts.FOLDER / name))
    disks = (it.name for it in DEVICES.iterdir() if not it.name.startswith("dm-"))
    settings = (system_dir / CONF_NAME).read_text()
    return "\n".join([settings, *sorted(disks), *sorted(others)])


def is_made(path: Path) -> bool:
    """Tell whether LVM or we have made a device of device-mapper."""
    try:
        number = path.stat().st_rdev
        numbers = f"{os.major(number)}:{os.minor(number)}"
        uuid = Path("/sys/dev/block", numbers, "dm/uuid").read_text()
    except OSError:
        return False
    return uuid.startswith(MADE)


def writing() -> AbstractContextManager[None]:
    """Raise `NotWritten` for what the system refuses."""
    return in_words_of({}, (NotWritten, NotWritten.ADVICE), NotWritten.DOING)


def remove(folder: Path) -> None:
    """Remove a folder, or what is in its place."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def write_settings(folder: Path, scan: str, filters: Sequence[str], proc: Path) -> None:
    """Write where it looks for devices, which it takes, and where its `/proc` is."""
    told = {"filters": ", ".join(filters), "scan": scan, "proc": str(proc)}
    told["udev"] = str(int(has_udev()))
    profiles = folder / "profile"
    profiles.mkdir(0o700, parents=True, exist_ok=True)
    write(folder / CONF_NAME, CONF.format(**told))
    write(profiles / f"{PROFILE_NAME}.profile", PROFILE)


def write(path: Path, text: str) -> None:
    """Write a file whole, for readers of any moment."""
    whole = path.with_suffix(".new")
    whole.write_text(text)
    whole.rename(path)

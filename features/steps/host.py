"""A host as a test's hands: it logs in, and its instances keep files on volumes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from mmap import PAGESIZE, mmap
from pathlib import Path
from typing import Any

from adapters.contracts.initiator import Initiator, Refused
from features.steps.storages import command

PATIENCE = 600  # seconds for a storage that is away
# An instance: it knows a file, writes it for good, and goes on until it is killed.
INSTANCE = """
import os, sys
path, text = sys.argv[1:]
with open(path, "w") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
    print("written", flush=True)
    sys.stdin.read()
"""


class Host:
    """A machine with an initiator; what it uses, it lets go of when it leaves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.initiator = Initiator(name)
        self._connections: dict[str, dict[str, Any]] = {}
        self._folders: dict[str, Path] = {}
        self._instances: list[subprocess.Popen[str]] = []

    def be_patient(self) -> None:
        """Wait for a storage that is away, as real hosts do."""
        self.initiator = Initiator(self.name, PATIENCE)

    def log_in(self, name: str, connection: dict[str, Any]) -> None:
        """Log in to a volume; raise `Refused` where it is not let in."""
        self._connections[name] = connection
        self.initiator.login(connection)

    def disk(self, name: str) -> Path:
        """Return the disk that a volume is here."""
        return self.initiator.disk(self._connections[name])

    def size(self, name: str) -> int:
        """Look again how large the disk is."""
        self.initiator.rescan(self._connections[name])
        with self.disk(name).open("rb") as disk:
            return disk.seek(0, os.SEEK_END)

    def write(self, name: str, text: str) -> None:
        """Write to the disk itself, past every cache; raise `OSError`."""
        with mmap(-1, PAGESIZE) as block:
            block.write(text.encode())
            file = os.open(self.disk(name), os.O_WRONLY | os.O_DIRECT)
            try:
                os.pwrite(file, block, 0)
            finally:
                os.close(file)

    def read(self, name: str) -> str:
        """Return what the disk begins with, past every cache."""
        with mmap(-1, PAGESIZE) as block:
            file = os.open(self.disk(name), os.O_RDONLY | os.O_DIRECT)
            try:
                os.preadv(file, [block], 0)
            finally:
                os.close(file)
            return block[:].rstrip(b"\0").decode()

    def make_file_system(self, name: str) -> None:
        """Make a file system on the disk."""
        command("mkfs.ext4", "-q", str(self.disk(name)))

    def folder(self, name: str) -> Path:
        """Return where the disk's file system is mounted."""
        if name not in self._folders:
            folder = Path(tempfile.mkdtemp())
            command("mount", str(self.disk(name)), str(folder))
            self._folders[name] = folder
        return self._folders[name]

    def start(self, path: Path, text: str) -> subprocess.Popen[str]:
        """Start an instance; returns when what it writes is written for good."""
        words = [sys.executable, "-I", "-c", INSTANCE, str(path), text]
        pipe = subprocess.PIPE
        instance = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        self._instances.append(instance)
        assert instance.stdout
        assert instance.stdout.readline() == "written\n"
        return instance

    def leave(self) -> None:
        """Let go of everything, whatever has become of it."""
        for instance in self._instances:
            with instance:
                instance.kill()
        for folder in self._folders.values():
            command("umount", "-l", str(folder))
        for connection in self._connections.values():
            with suppress(Refused):
                self.initiator.logout(connection)

"""The main job as a story: a volume outlives the instance that wrote to it.

`story` reads from top to bottom as it is told. Its instances are processes of
their own, which get nothing but the path of a device, and what it says of their
bytes is checked, not assumed. `Hosts` are the machines they run on; `bed.demo` tells
the same of others.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Protocol
from uuid import uuid4

import nats
import uvloop
from nats.aio.client import Client

from service import settings
from service.cli import show
from service.cli.client import Ended, in_a_shell
from service.endpoints.endpoint import PREFIX
from service.up import up

WAIT_SECONDS = 60
PATIENCE = WAIT_SECONDS + 5
TEXT = "Written by web-1 before it was lost."
MISTAKE = "Overwritten by web-2, which should not have."

UUID_IN_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?!/)")

# Each stands for a machine: it knows a device, and nothing of Holdfast.
WRITER = """
import hashlib, os, sys
device, text = sys.argv[1:]
digest = hashlib.sha256(text.encode()).hexdigest()
with open(device, "r+b") as disk:
    disk.write(f"{text}\\n{digest}\\n".encode())
    disk.flush()
    os.fsync(disk.fileno())
    print(digest, flush=True)
    sys.stdin.read()  # it goes on using the device until it is gone
"""
READER = """
import hashlib, sys
with open(sys.argv[1], "rb") as disk:
    text, digest = disk.readline()[:-1], disk.readline()[:-1].decode()
found = hashlib.sha256(text).hexdigest()
print(found if found == digest else "damaged", text.decode())
"""


class Hosts(Protocol):
    """The machines of a story."""

    shown: str  # what is told of a connection

    def connector(self, host: str) -> dict[str, Any]:
        """Return what a host says of itself."""

    async def device(self, tell: Teller, host: str, connection: dict[str, Any]) -> str:
        """Have a host get at a volume, and return the path that it has there."""

    def writable(self, device: str) -> str:
        """Return the path of what an instance writes to, made ready for it."""

    def readable(self, device: str) -> str:
        """Return the path of what an instance has written to."""


class Beside:
    """Hosts beside the storage: a volume is the path that an attachment told."""

    shown = "connection.data.device_path"

    def connector(self, host: str) -> dict[str, Any]:
        """Return its name."""
        return {"host": host}

    async def device(self, tell: Teller, host: str, connection: dict[str, Any]) -> str:
        """Return what was told."""
        return str(connection["data"]["device_path"])

    def writable(self, device: str) -> str:
        """Return the device itself."""
        return device

    def readable(self, device: str) -> str:
        """Return the device itself."""
        return device


def tell_story(data: Path | None) -> int:
    """Run the whole service, tell the story, and return the exit code.

    Raises `Ended` where it did not.
    """
    try:
        with folder_of(data) as folder:
            said = "Holdfast: a volume outlives the machine that uses it."
            uvloop.run(run(folder, settings.load(None, {}), said, story))
            go_on(folder, kept=data is not None)
            return 0
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM  # as a shell would say it


@contextmanager
def folder_of(data: Path | None) -> Iterator[Path]:
    """Yield the folder that is asked for, or one that is removed afterwards."""
    if data is not None:
        yield data.absolute()
        return
    with TemporaryDirectory(prefix="holdfast-demo-") as folder:
        yield Path(folder)


async def run(
    folder: Path,
    configured: settings.Settings,
    said: str,
    story: Callable[[Teller], Awaitable[None]],
) -> None:
    """Tell a story with a service of its own, which ends with it."""
    me = asyncio.current_task()
    assert me
    # As Ctrl-C does, so that nothing is left running or lying about.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    say(bold(f"{said}\n"))
    began = perf_counter()
    async with up(folder, configured) as running:
        say(f"The whole service runs in {folder}, with its NATS at {running.url}")
        say(f"and its own PostgreSQL; that took {perf_counter() - began:.1f} s.\n")
        client = await nats.connect(running.url, name="holdfast demo")
        try:
            await unless_failed(story(Teller(client)), running.work)
        finally:
            await client.close()


async def unless_failed(told: Awaitable[None], work: asyncio.Future[Any]) -> None:
    """Tell to the end, or raise what ended the service meanwhile."""
    telling = asyncio.ensure_future(told)
    try:
        await asyncio.wait({telling, work}, return_when=asyncio.FIRST_COMPLETED)
        await (telling if telling.done() else work)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


class Teller:
    """Tells each step: what happens, what is asked, what came back, and how soon."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._step = 0

    def step(self, said: str) -> None:
        """Begin the next step."""
        self._step += 1
        say(bold(f"{self._step}. {said}"))

    def note(self, said: str) -> None:
        """Say something within a step."""
        say(f"   {said}")

    async def ask(
        self,
        subject: str,
        keep: tuple[str, ...],
        headers: dict[str, str] | None = None,
        **message: Any,
    ) -> dict[str, Any]:
        """Ask, tell of it, and return the answer; of it, `keep` is told."""
        extra = "".join(f"  {name}: {said}" for name, said in (headers or {}).items())
        self.note(dim(f"→ {PREFIX}{subject} {brief(json.dumps(message))}{extra}"))
        began = perf_counter()
        told = await self.quietly(subject, headers, **message)
        milliseconds = (perf_counter() - began) * 1000
        found = dict(show.flattened(told))
        kept = ", ".join(f"{key} {brief(show.words(found[key]))}" for key in keep)
        self.note(dim(f"← {kept}  ({milliseconds:.0f} ms)") + "\n")
        return told

    async def quietly(
        self, subject: str, headers: dict[str, str] | None = None, **message: Any
    ) -> dict[str, Any]:
        """Ask and return the answer; raise `Ended` where it is a problem."""
        said = {
            "Holdfast-Actor": "demo",
            "Holdfast-Request-Id": str(uuid4()),
        } | (headers or {})
        answer = await self._client.request(
            PREFIX + subject, json.dumps(message).encode(), PATIENCE, headers=said
        )
        told: dict[str, Any] = json.loads(answer.data)
        if "Nats-Service-Error-Code" in (answer.headers or {}):
            raise Ended(f"the story stops at {subject}: {told['detail']}")
        return told


async def story(tell: Teller) -> None:
    """Tell it from the first volume to the last look at the log.

    Raises `Ended` where it comes out wrong.
    """
    hosts = Beside()
    volume_id = await made(tell)
    device, attachment_id = await attached(tell, hosts, volume_id, "web-1", "node-1")
    written = await lost(tell, hosts, device)
    await outlived(tell, hosts, volume_id, device)
    await freed(tell, volume_id, attachment_id)
    device, attachment_id = await attached(tell, hosts, volume_id, "web-2", "node-2")
    await read_again(tell, hosts, device, written)
    snapshot_id = await kept(tell, volume_id)
    await overwritten(tell, hosts, device)
    await reverted(tell, hosts, device, volume_id, attachment_id, snapshot_id)
    await copied(tell, hosts, snapshot_id, written)
    await looked_back(tell, volume_id)


async def made(tell: Teller) -> str:
    """Make a volume and return its id."""
    name = await free_name(tell)
    tell.step(f'Ask for a volume of 1 GiB, "{name}", and wait for its backend.')
    waiting = {"Holdfast-Wait": str(WAIT_SECONDS)}
    volume = await tell.ask(
        "volume.create", ("id", "status", "backend"), waiting, name=name, size_gib=1
    )
    check(volume["status"] == "available", f"the volume is {volume['status']}")
    return str(volume["id"])


async def lost(tell: Teller, hosts: Hosts, device: str) -> str:
    """Let an instance write, lose it, and return the sum of what it wrote."""
    tell.step("web-1, a process of its own, writes to the device and syncs it.")
    writer = await instance(WRITER, hosts.writable(device), TEXT)
    try:
        written = (await line_of(writer)).strip()
        tell.note(f'web-1 (process {writer.pid}) wrote "{TEXT}"')
        tell.note(f"sha256 {written}\n")
        tell.step("web-1 is lost: SIGKILL, with the device still open.")
    finally:
        await killed(writer)
    tell.note(f"process {writer.pid} is gone: {signal.strsignal(signal.SIGKILL)}\n")
    return written


async def outlived(tell: Teller, hosts: Hosts, volume_id: str, device: str) -> None:
    """Look at the volume without its instance."""
    tell.step("The volume is there, still promised to web-1, and so is its data.")
    seen = await tell.ask("volume.show", ("status", "attachments"), id=volume_id)
    check(seen["status"] == "in-use", f"the volume is {seen['status']}")
    check(beginning_of(hosts.readable(device)) == TEXT, "the data is gone")


async def freed(tell: Teller, volume_id: str, attachment_id: str) -> None:
    """Take the volume back from the instance that is gone."""
    tell.step("Whoever looks after web-1 says that it is gone; the volume is free.")
    because = {"Holdfast-Reason": "web-1 is lost"}
    await tell.ask("attachment.delete", ("status",), because, id=attachment_id)
    seen = await tell.ask("volume.show", ("status",), id=volume_id)
    check(seen["status"] == "available", f"the volume is {seen['status']}")


async def read_again(
    tell: Teller, hosts: Hosts, device: str, written: str, by: str = "web-2"
) -> None:
    """Let another instance read what the first one wrote."""
    tell.step(f"{by}, started from another image, reads what web-1 wrote.")
    reader = await instance(READER, hosts.readable(device))
    try:
        found, _, text = (await line_of(reader)).strip().partition(" ")
    finally:
        await killed(reader)
    tell.note(f'{by} (process {reader.pid}) read "{text}"')
    tell.note(f"sha256 {found}")
    check(found == written, f"{by} read {found}, web-1 wrote {written}")
    tell.note(bold("Equal: the volume outlived its instance.") + "\n")


async def kept(tell: Teller, volume_id: str) -> str:
    """Take a snapshot of the volume in use, and return its id."""
    tell.step("Keep what it holds now. web-2 may be writing, and we say that we know.")
    waiting = {"Holdfast-Wait": str(WAIT_SECONDS)}
    asked = {"volume_id": volume_id, "name": "before", "force": True}
    taken = await tell.ask("snapshot.create", ("id", "status"), waiting, **asked)
    check(taken["status"] == "available", f"the snapshot is {taken['status']}")
    return str(taken["id"])


async def overwritten(tell: Teller, hosts: Hosts, device: str) -> None:
    """Let an instance destroy what is there."""
    tell.step("web-2 makes a mistake.")
    writer = await instance(WRITER, hosts.writable(device), MISTAKE)
    try:
        await line_of(writer)
    finally:
        await killed(writer)
    tell.note(f'web-2 (process {writer.pid}) wrote "{MISTAKE}"\n')


async def reverted(
    tell: Teller,
    hosts: Hosts,
    device: str,
    volume_id: str,
    attachment_id: str,
    snapshot_id: str,
) -> None:
    """Take the volume from whoever has it, and bring back what it held."""
    tell.step("Take it from web-2, and let it hold again what it held before.")
    because = {"Holdfast-Reason": "web-2 has overwritten it"}
    await tell.ask("attachment.delete", ("status",), because, id=attachment_id)
    waiting = because | {"Holdfast-Wait": str(WAIT_SECONDS)}
    asked = {"id": volume_id, "snapshot_id": snapshot_id}
    seen = await tell.ask("volume.revert", ("status",), waiting, **asked)
    check(seen["status"] == "available", f"the volume is {seen['status']}")
    check(beginning_of(hosts.readable(device)) == TEXT, "it holds something else")
    tell.note(f'It holds "{TEXT}"\n')


async def copied(tell: Teller, hosts: Hosts, snapshot_id: str, written: str) -> None:
    """Make a volume of the snapshot, for another instance to read."""
    tell.step("A second instance gets a volume of its own, made of the snapshot.")
    waiting = {"Holdfast-Wait": str(WAIT_SECONDS)}
    source = {"name": "copy", "source": {"snapshot": snapshot_id}}
    made = await tell.ask("volume.create", ("id", "status"), waiting, **source)
    check(made["status"] == "available", f"the copy is {made['status']}")
    device, _ = await attached(tell, hosts, made["id"], "web-3", "node-3")
    await read_again(tell, hosts, device, written, by="web-3")


async def free_name(tell: Teller) -> str:
    """Return "db", or what is like it where an earlier story has left that."""
    number = 1
    while True:
        name = "db" if number == 1 else f"db-{number}"
        if not (await tell.quietly("volume.list", name=name))["items"]:
            return name
        number += 1


async def attached(
    tell: Teller, hosts: Hosts, volume_id: str, instance_name: str, host: str
) -> tuple[str, str]:
    """Attach the volume; return the device's path and the attachment's id."""
    tell.step(f"Promise it to the instance {instance_name}.")
    attachment = await tell.ask(
        "attachment.create",
        ("id", "status"),
        volume_id=volume_id,
        instance=instance_name,
    )
    key: str = attachment["id"]
    tell.step(f"Let {host}, where {instance_name} runs, reach it, and ask how.")
    connected = await tell.ask(
        "attachment.update",
        ("status", hosts.shown),
        id=key,
        connector=hosts.connector(host),
    )
    device = await hosts.device(tell, host, connected["connection"])
    tell.step(f"{instance_name} has it; say so.")
    done = await tell.ask("attachment.complete", ("status",), id=key)
    check(done["status"] == "attached", f"the attachment is {done['status']}")
    return device, key


async def looked_back(tell: Teller, volume_id: str) -> None:
    """Tell what the log has of it, and that nobody has touched the log."""
    tell.step("The log has all of it: who did what, when and why.")
    history = await tell.ask("volume.history", ("position",), id=volume_id)
    show.for_people(show.history(history))
    say("")
    tell.step("And the log is what was written: each event seals those before it.")
    verified = await tell.ask("audit.verify", ("intact", "events", "chain"))
    check(verified["intact"], f"the log is not intact: {verified['detail']}")


async def instance(code: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start an instance: a process that knows its device and nothing of us."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", code, *arguments, stdin=pipe, stdout=pipe
    )


async def line_of(process: asyncio.subprocess.Process) -> str:
    """Return what an instance says; raise `Ended` if it ends without a word."""
    assert process.stdout
    said = await process.stdout.readline()
    if not said:
        raise Ended("an instance could not use its device (see above)")
    return said.decode()


async def killed(process: asyncio.subprocess.Process) -> None:
    """End an instance as a power cut would; wait until it is gone."""
    if process.returncode is None:
        process.kill()
    await process.wait()


def beginning_of(path: str) -> str:
    """Return the text that is there first."""
    with Path(path).open("rb") as disk:
        return disk.read(len(TEXT)).decode(errors="replace")


def check(right: object, otherwise: str) -> None:
    """Raise `Ended` where the story would not be true."""
    if not right:
        raise Ended(f"this should not happen: {otherwise}")


def go_on(folder: Path, *, kept: bool) -> None:
    """Say what to do next."""
    named = f" --data {shlex.quote(str(folder))}" if kept else ""
    say(bold("The service is stopped. ") + left(folder, kept=kept))
    say(f"To go on{in_a_shell()}:\n")
    for command, why in NEXT.items():
        say(f"    {command + named:<42}  {why}".rstrip())
    say("\nThe README has the rest: settings, talking to it from a program, docs/.")


def left(folder: Path, *, kept: bool) -> str:
    """Say what the story leaves behind."""
    return f"Its data is kept in {folder}." if kept else "Nothing is left of it."


NEXT = {
    "holdfast up": "keeps running, until Ctrl-C",
    "holdfast volume create web --size 1 --wait": "in another shell",
    "holdfast volume list": "",
    "holdfast audit history web": "who did what to it, when and why",
    "holdfast volume --help": "what else can be done to it",
}


def brief(text: str) -> str:
    """Return the text with ids as short as one may write them."""
    return UUID_IN_TEXT.sub(lambda found: f"{found[0][:8]}…", text)


def say(text: str) -> None:
    """Print, at once: one may be reading along."""
    print(text, flush=True)


def coloured() -> bool:
    """Tell whether whoever reads this sees colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    """Return the text in bold."""
    return f"\033[1m{text}\033[0m" if coloured() else text


def dim(text: str) -> str:
    """Return the text dimmed."""
    return f"\033[2m{text}\033[0m" if coloured() else text

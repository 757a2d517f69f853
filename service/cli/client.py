"""Asking the service over NATS: where it is, who asks, and asking again."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import nats
import typer
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError, NoRespondersError
from nats.errors import Error as NatsError

from service.cli.progress import Told, followed
from service.messages.text import without_secret

PREFIX = "holdfast.v1."
DESCRIPTION = "holdfast.json"  # service.up's, which is slow to import for one word
CONNECT_SECONDS = 5.0
PATIENCE = 12.0  # a little more than a backend has to answer
LEAVING_SECONDS = 2.0  # to find out what is left behind
MARGIN = 5.0  # seconds that the way takes at most, beyond the wait asked for
START = "start one with `holdfast up`, or name another with --nats URL"
NOT_LET_IN = "Authorization Violation"  # as NATS says it
PAGE = 100  # lines of a list in one answer


class Ended(Exception):
    """The command ends here; the message is one line, with what to do next."""

    code = 1


class Misused(Ended):
    """What was given to the command cannot be used."""

    code = 2


class Unreachable(Ended):
    """Nobody answers."""

    code = 3


class Left(Ended):
    """Ctrl-C: whoever asked waits no longer, and the work goes on."""

    code = 130


class Lost(Exception):
    """An answer did not come; whether it was done is not known."""


class Problem(Ended):
    """The service said no; `told` is its problem, as RFC 9457 has it."""

    def __init__(
        self,
        told: dict[str, Any],
        subject: str,
        asked: Mapping[str, Any] = {},
    ) -> None:
        super().__init__(told, subject)
        self.told = told
        self.subject = subject
        self._asked = asked

    def __str__(self) -> str:
        detail = str(self.told.get("detail") or self.told.get("title") or "refused")
        advice = NEXT.get(str(self.told.get("type")), "")
        noun, key = self._about
        if "`holdfast" in detail:
            advice = ""
        elif "ask again" in detail:
            advice = advice.removeprefix(f"{AGAIN}; ")
        elif self.told.get("type") == "not-found":
            advice = LISTED.get(noun, "").format(noun=noun.replace("_", "-"))
        return f"{detail}; {advice.format(key=key)}" if advice else detail

    @property
    def _about(self) -> tuple[str, str]:
        """The noun and the id of what it is about, as far as that is known."""
        noun, _, key = str(self.told.get("instance") or "").partition("/")
        asked = (self._asked.get(f"{of}id") for of in ("", "volume_", "group_"))
        return noun, key or next(filter(None, asked), "ID")


AGAIN = "ask again"
# What to do next, where the problem's detail does not say it already.
NEXT = {
    "refused": "`holdfast audit history {key}` shows how it came to that",
    "no-capacity": "`holdfast backend list` shows the room there is",
    "unavailable": f"{AGAIN}; the same --request-id does nothing twice",
    "fault": "`holdfast audit history {key}` and the service's log say more",
}
# Where to see what there is of a noun.
LISTED = dict.fromkeys(
    ("volume", "attachment", "snapshot", "group", "group_snapshot", "backend"),
    "`holdfast {noun} list` shows them",
) | {
    "consistency_group": "`holdfast group list` shows which are",
    "cgsnapshot": "`holdfast group list` shows which are",
    "volume_type": "[volume_type.NAME] in the settings of `serve` or `up` has them",
}


@dataclass(frozen=True)
class Caller:
    """Where the service is, who asks it and why, and how long that may take."""

    data: Path
    nats: str | None = None
    as_json: bool = False
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None
    wait: float | None = None

    @property
    def url(self) -> str:
        """Return the service's address, or raise `Unreachable`."""
        if url := self.nats or described(self.data).get("nats_url"):
            return str(url)
        raise Unreachable(f"no holdfast runs on {self.data}; {START} or --data DIR")

    @property
    def address(self) -> str:
        """Return the service's address as it can be shown."""
        return without_secret(self.url)

    @property
    def headers(self) -> dict[str, str]:
        """Return what goes with every request."""
        said = {
            "Holdfast-Actor": self.actor or user_name(),
            "Holdfast-Reason": self.reason,
            "Holdfast-Request-Id": self.request_id or str(uuid4()),
            "Holdfast-Wait": None if self.wait is None else f"{self.wait:.9f}",
            "traceparent": os.environ.get("TRACEPARENT"),
        }
        return {name: value for name, value in said.items() if value}


class Service:
    """The service at one address; connects when it is first asked.

    How far the work is that is waited for is `told`, in percent.
    """

    def __init__(self, caller: Caller, told: Told | None = None) -> None:
        self.caller = caller
        self._told = told
        self._patience = caller.wait + MARGIN if caller.wait else PATIENCE
        self._runner = asyncio.Runner()
        self._connection: Connection | None = None
        self._asked_as = ""  # what was asked last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection:
            self._runner.run(self._connection.client.close())
        self._runner.close()

    def ask(self, subject: str, **message: Any) -> dict[str, Any]:
        """Return the answer; fields that are None are left out.

        Raises `Problem` for a refusal, `Unreachable` where none answers, and `Left` on
        Ctrl-C while it waits for the work.
        """
        headers = self.caller.headers
        self._asked_as = headers["Holdfast-Request-Id"]
        try:
            return self._ask(subject, message, headers, self._patience)
        except KeyboardInterrupt:
            if "Holdfast-Wait" not in headers:
                raise
        raise Left(self._goes_on(subject, message, headers))

    def patient(self, seconds: float) -> Self:
        """Wait so long for answers, for they take longer than others."""
        self._patience = seconds
        return self

    def look(self, subject: str, **message: Any) -> dict[str, Any]:
        """Ask on the way to the command itself, which alone has the caller's key."""
        headers = Caller(self.caller.data, actor=self.caller.actor).headers
        return self._ask(subject, message, headers, PATIENCE)

    def led_to_nothing(self) -> bool:
        """Tell whether what was asked last was so already."""
        try:
            self.look("audit.why", request_id=self._asked_as)
        except Problem as problem:
            return problem.told.get("type") == "not-found"
        return False

    def pages(self, subject: str, **message: Any) -> Iterator[dict[str, Any]]:
        """Return every page of a list."""
        cursor = None
        while True:
            page = self.look(subject, **message | {"limit": PAGE, "cursor": cursor})
            yield page
            if not (cursor := page["next"]):
                return

    def whole(self, subject: str, limit: int | None, **message: Any) -> dict[str, Any]:
        """Return one page of a list, if a limit is set, else all of it as one."""
        if limit is not None or message.get("cursor"):
            return self.ask(subject, limit=limit, **message)
        pages = list(self.pages(subject, **message))
        return pages[-1] | {"items": [item for page in pages for item in page["items"]]}

    def _goes_on(
        self, subject: str, message: Mapping[str, Any], headers: dict[str, str]
    ) -> str:
        """Return what to say of work that is no longer waited for.

        What it is about is in the first answer, which the same key gives at once.
        """
        del headers["Holdfast-Wait"]
        with suppress(Unreachable):
            if key := self._ask(subject, message, headers, LEAVING_SECONDS).get("id"):
                return (
                    f"the work on {key} goes on; `holdfast audit history {key}` shows "
                    "what becomes of it"
                )
        return (
            "the work may go on; ask again with --request-id "
            f"{headers['Holdfast-Request-Id']} to see what becomes of it"
        )

    def _ask(
        self,
        subject: str,
        message: Mapping[str, Any],
        headers: dict[str, str],
        patience: float,
    ) -> dict[str, Any]:
        said = {name: value for name, value in message.items() if value is not None}
        try:
            body = json.dumps(said, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Ended(f"{error.object!r} is no UTF-8; say it otherwise") from error
        asking = self._answer(subject, body, headers, patience)
        failed, answer = self._runner.run(asking)
        told: dict[str, Any] = json.loads(answer)
        if failed:
            raise Problem(told, subject, said)
        return told

    async def _answer(
        self, subject: str, body: bytes, headers: dict[str, str], patience: float
    ) -> tuple[bool, bytes]:
        """Return whether it is a problem, and the answer; asks again for a lost one."""
        with suppress(Lost):
            return await self._once(subject, body, headers, patience)
        try:
            return await self._once(subject, body, headers, patience)
        except (Lost, Unreachable) as error:
            raise Unreachable(
                f"no answer from {self.caller.address}; it may have been done: ask "
                f"again with --request-id {headers['Holdfast-Request-Id']}"
            ) from error

    async def _once(
        self, subject: str, body: bytes, headers: dict[str, str], patience: float
    ) -> tuple[bool, bytes]:
        connection = await self._connected()
        try:
            async with self._followed(connection.client, headers):
                answer = await connection.request(
                    PREFIX + subject, body, headers, patience
                )
        except NoRespondersError as error:
            raise Unreachable(
                f"no holdfast answers at {self.caller.address}; {START}"
            ) from error
        except MaxPayloadError as error:
            raise Ended("the request is larger than 64 KiB; say less") from error
        except (NatsError, TimeoutError) as error:
            raise Lost from error
        return "Nats-Service-Error-Code" in (answer.headers or {}), answer.data

    def _followed(
        self, client: Client, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[None]:
        """Return what tells how far the work is, if that is waited for and wanted."""
        if self._told and "Holdfast-Wait" in headers:
            return followed(client, headers["Holdfast-Request-Id"], self._told)
        return nullcontext()

    async def _connected(self) -> Connection:
        """Return the connection, made anew where it was lost."""
        if self._connection is None or self._connection.lost.is_set():
            self._connection = await connect(self.caller.url)
        return self._connection


@dataclass(frozen=True)
class Connection:
    """A connection that is not made again behind our back."""

    client: Client
    lost: asyncio.Event

    async def request(
        self, subject: str, body: bytes, headers: dict[str, str], patience: float
    ) -> Msg:
        """Return the answer; raise at once what NATS says when the server goes."""
        asked = asyncio.ensure_future(
            self.client.request(subject, body, patience, headers=headers)
        )
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({asked, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise ConnectionClosedError
            return asked.result()
        finally:
            asked.cancel()
            lost.cancel()


async def connect(url: str) -> Connection:
    """Return a connection, or raise `Unreachable`."""
    lost = asyncio.Event()

    async def closed() -> None:
        lost.set()

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await nats.connect(
                url,
                name="holdfast command line",
                allow_reconnect=False,
                max_reconnect_attempts=1,  # tried twice, and then it is told
                reconnect_time_wait=0.1,
                error_cb=in_silence,
                closed_cb=closed,
            )
    except ValueError as error:
        raise Ended(
            f"{without_secret(url)} is no address of NATS; nats://HOST:PORT is one"
        ) from error
    except (NatsError, TimeoutError, OSError) as error:
        address = without_secret(url)
        if NOT_LET_IN in str(error):
            raise Unreachable(
                f"NATS at {address} takes no such user or password; name it with the "
                "right ones: --nats URL"
            ) from error
        raise Unreachable(f"nothing answers at {address}; {START}") from error
    return Connection(client, lost)


async def in_silence(_: Exception) -> None:
    """Leave to the caller what a lost connection means."""


def in_a_shell() -> str:
    """Return what a shell needs to find the command, where that is a checkout's."""
    there = (Path(__file__).parents[2] / "go").exists()
    return " (after `. .venv/bin/activate`, or with ./go in front)" if there else ""


def data_folder() -> Path:
    """Return where `holdfast up` keeps everything, unless told otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "holdfast"


def folder(said: str | Path) -> Path:
    """Return the folder that is named; nothing names none."""
    if said == "":
        raise typer.BadParameter("names no folder")
    return Path(said)


def described(data: Path) -> dict[str, Any]:
    """Return what the `up` that runs on a data folder says of itself."""
    try:
        told: dict[str, Any] = dict(json.loads((data / DESCRIPTION).read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise Unreachable(
            f"{data / DESCRIPTION} cannot be read; name the service with --nats URL"
        ) from error
    return told


def user_name() -> str:
    """Return who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def one_line(text: str) -> str:
    """Return the text without line breaks."""
    return " ".join(text.split())

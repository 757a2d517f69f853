"""Callers who remember what they asked and all they were answered, and ask twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error

from service.testing.callers import Answer, Caller

TWICE = 0.15  # of all requests are asked twice at once


@dataclass
class Asked:
    """A request, and every answer to it; None is one that did not come."""

    subject: str
    message: dict[str, Any]
    wrong: str = ""  # the only problem there may be, where it should not be done
    answers: list[Answer | None] = field(default_factory=list)

    @property
    def done(self) -> list[Answer]:
        """Return the answers that said that it was done."""
        return [answer for answer in self.heard if not answer.code]

    @property
    def heard(self) -> list[Answer]:
        """Return the answers that came."""
        return [answer for answer in self.answers if answer]

    @property
    def unsure(self) -> bool:
        """Nobody who asked can know whether it was done."""
        vague = self.subject in WAITING  # where only the backend may be away
        return not self.done and any(
            not answer or (vague and answer.code.startswith("5"))
            for answer in self.answers or [None]
        )


# Their answers come when a backend has done its work, and show what is then.
WAITING = {
    "volume.remove_export",
    "attachment.create",
    "attachment.update",
    "attachment.delete",
}


class Diary:
    """All that was asked, by request id; what was forged; what was written where.

    One with a file has each line there, durably, before what it tells of goes on,
    and begins with what is there.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.asked: dict[str, Asked] = {}
        self.forged: list[tuple[str, Answer]] = []
        # By volume and snapshot, what is where; None where nobody knows.
        self.written: dict[str, dict[int, str | None]] = {}
        self.unclean: list[str] = []
        self._file = os.open(file, LINES, 0o600) if file else None
        for line in whole_lines(file) if file else ():
            what, *told = json.loads(line)
            self._know(what, told)

    def note(
        self, key: str, subject: str, message: dict[str, Any], wrong: str = ""
    ) -> Asked:
        """Return where the answers to a request go."""
        if key not in self.asked:
            self._tell("asked", key, subject, message, wrong)
        return self.asked[key]

    def heard(self, key: str, answers: Sequence[Answer | None]) -> None:
        """Note what a request was answered."""
        self._tell("heard", key, [a and (a.code, a.body, {}) for a in answers])

    def forge(self, key: str, answer: Answer) -> None:
        """Note what was answered to a request that used another's id."""
        self._tell("forged", key, (answer.code, answer.body, {}))

    def wrote(self, volume_id: str, where: int, what: str | None) -> None:
        """Note what is on a volume, or will be on a snapshot; None: nobody knows."""
        self._tell("wrote", volume_id, where, what)

    def soiled(self, finding: str) -> None:
        """Note a volume that had something on it that was not its own."""
        self._tell("soiled", finding)

    def unsure(self) -> Iterator[tuple[str, Asked]]:
        """Yield what may or may not have been done."""
        return ((k, asked) for k, asked in self.asked.items() if asked.unsure)

    def unanswered(self) -> Iterator[tuple[str, Asked]]:
        """Yield what was neither done nor refused yet."""
        for key, asked in self.asked.items():
            if not asked.answers or not asked.answers[-1]:
                yield key, asked

    def done(self) -> list[str]:
        """Return what has been done."""
        return [key for key, asked in self.asked.items() if asked.done]

    def _tell(self, what: str, *told: Any) -> None:
        if self._file is not None:
            os.write(self._file, f"{json.dumps([what, *told])}\n".encode())
            os.fsync(self._file)
        self._know(what, told)

    def _know(self, what: str, told: Sequence[Any]) -> None:
        match what, *told:
            case "asked", key, subject, message, wrong:
                self.asked[key] = Asked(subject, message, wrong)
            case "heard", key, answers:
                self.asked[key].answers += [a and Answer(*a) for a in answers]
            case "forged", key, answer:
                self.forged.append((key, Answer(*answer)))
            case "wrote", volume_id, where, what:
                self.written.setdefault(volume_id, {})[where] = what
            case "soiled", finding:
                self.unclean.append(finding)


LINES = os.O_RDWR | os.O_CREAT | os.O_APPEND


def whole_lines(file: Path) -> list[str]:
    """Return the lines of a file; what is no whole line any more is removed."""
    told = file.read_bytes()
    whole = told[: told.rfind(b"\n") + 1]
    os.truncate(file, len(whole))
    return whole.decode().splitlines()


class Witness(Caller):
    """A caller whose requests and answers are noted; some are asked twice at once."""

    def __init__(
        self, client: Client, diary: Diary, dice: random.Random, other: Client
    ) -> None:
        super().__init__(client)
        self.diary = diary
        self.dice = dice
        self._other = Caller(other)

    async def ask(
        self, subject: str, key: str = "", seconds: float = 1, **message: Any
    ) -> Answer:
        """Return what is answered, or raise what nats-py does where nothing is."""
        if not key:
            return await super().ask(subject, key, seconds, **message)
        asked = self.diary.note(key, subject, message)
        askers: list[Caller] = [Caller(self.client)]
        if self.dice.random() < TWICE:
            askers.append(self._other)
        answers = await asyncio.gather(
            *(answer_to(asker, asked, key, seconds) for asker in askers)
        )
        self.diary.heard(key, answers)
        if not answers[0]:
            raise TimeoutError
        return answers[0]

    async def once(
        self, subject: str, key: str, wrong: str = "", **message: Any
    ) -> None:
        """Ask, and take what comes, also nothing."""
        self.diary.note(key, subject, message, wrong)
        with suppress(Error, TimeoutError):
            await self.ask(subject, key, **message)

    async def forge(self, key: str, subject: str, **message: Any) -> None:
        """Use the request id of what was done for something else."""
        with suppress(Error, TimeoutError):
            answer = await super().ask(subject, key, **message)
            self.diary.forge(key, answer)


async def answer_to(
    asker: Caller, asked: Asked, key: str, seconds: float
) -> Answer | None:
    """Return what is answered, None where nothing is."""
    try:
        return await asker.ask(asked.subject, key, seconds, **asked.message)
    except (Error, TimeoutError):
        return None

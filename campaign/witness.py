"""Callers who remember what they asked and all they were answered, and ask twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.errors import Error

from service.testing import Answer, Caller

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
            for answer in self.answers
        )


# Their answers come when a backend has done its work, and show what is then.
WAITING = {"attachment.create", "attachment.update", "attachment.delete"}


class Diary:
    """All that was asked, by request id; and ids that were used once more."""

    def __init__(self) -> None:
        self.asked: dict[str, Asked] = {}
        self.forged: list[tuple[str, Answer]] = []

    def note(
        self, key: str, subject: str, message: dict[str, Any], wrong: str = ""
    ) -> Asked:
        """Return where the answers to a request go."""
        return self.asked.setdefault(key, Asked(subject, message, wrong))

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
        asked.answers += answers
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
            self.diary.forged.append((key, answer))


async def answer_to(
    asker: Caller, asked: Asked, key: str, seconds: float
) -> Answer | None:
    """Return what is answered, None where nothing is."""
    try:
        return await asker.ask(asked.subject, key, seconds, **asked.message)
    except (Error, TimeoutError):
        return None

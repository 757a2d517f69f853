"""A volume type: what its volumes ask of a backend, in Cinder's extra specs.

A spec is the name of a capability and what must be so of it, in words that begin
with an operator; without one, the capability must be what the words say. Specs of
Cinder's scope `capabilities:`, or of none, are about capabilities, and
`provisioning:type` says how room is counted. What is in other scopes is for others.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple


@dataclass(eq=False)
class Unclear(Exception):
    """A spec says nothing that a backend could be held to."""

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


YES = {"1", "t", "true", "on", "y", "yes"}
NO = {"0", "f", "false", "off", "n", "no"}


def truth(told: object) -> bool:
    """Return what a word for yes or no says, or raise `ValueError`."""
    word = str(told).lower()
    if word not in YES | NO:
        raise ValueError(told)
    return word in YES


def text(told: object) -> str:
    """Return what is told as a text, or raise `ValueError` if that is empty."""
    if not str(told):
        raise ValueError(told)
    return str(told)


def alternatives(told: str) -> list[str]:
    """Return the texts between `<or>`, or raise `ValueError` if one is empty."""
    return [text(each.strip()) for each in told.split("<or>")]


class Operand(NamedTuple):
    """How to read what a backend tells, and what is wanted; and what that is called."""

    told: Callable[[Any], Any]
    wanted: Callable[[str], Any]
    name: str


NUMBER = Operand(float, float, "a number")
TEXT = Operand(str, text, "a text")
TEXTS = Operand(str, alternatives, "texts with <or> between them")
TRUTH = Operand(truth, truth, "True or False")

# fmt: off
# Cinder's extra_specs_ops. "=" is no slip: there it has always meant "at least".
OPERATORS: dict[str, tuple[Operand, Callable[[Any, Any], bool]]] = {
    "=":    (NUMBER, operator.ge),
    "==":   (NUMBER, operator.eq),
    "!=":   (NUMBER, operator.ne),
    ">=":   (NUMBER, operator.ge),
    "<=":   (NUMBER, operator.le),
    "s==":  (TEXT,   operator.eq),
    "s!=":  (TEXT,   operator.ne),
    "s<":   (TEXT,   operator.lt),
    "s<=":  (TEXT,   operator.le),
    "s>":   (TEXT,   operator.gt),
    "s>=":  (TEXT,   operator.ge),
    "<is>": (TRUTH,  operator.eq),
    "<in>": (TEXT,   operator.contains),
    "<or>": (TEXTS,  lambda told, wanted: told in wanted),
}
# fmt: on
BEGINS_LIKE_ONE = re.compile(r"s?[<>=!]")

# Drivers spell a protocol in more than one way; Cinder takes each for all.
SPELLINGS = (
    ("iSCSI", "iscsi"),
    ("iSER", "iser"),
    ("FC", "fibre_channel", "fc"),
    ("NFS", "nfs"),
    ("NVMe-oF", "NVMeOF", "nvmeof"),
)
# Without an operator, what is said is read as a capability of its kind is.
PLAIN: dict[type, Callable[[Any], Any]] = {bool: truth, int: float, float: float}
PROVISIONED = {"thin": True, "thick": False}


class Spec(NamedTuple):
    """What must be so of one capability, which is found by its path."""

    key: str
    said: str
    path: tuple[str, ...]
    holds: Callable[[Any], bool]

    def unmet(self, capabilities: Mapping[str, Any]) -> str | None:
        """Return why the capabilities do not do, or None if they do."""
        told: Any = capabilities
        for step in self.path:
            told = told.get(step) if isinstance(told, Mapping) else None
        if told is None:
            return f"{self.key} {self.said} (it does not tell)"
        if any(map(self.holds, spelt(self.path, told))):
            return None
        return f"{self.key} {self.said} (it has {told})"


class VolumeType:
    """What the specs of a type come to, worked out once.

    `thin`: room may be promised to its volumes more than once. `multiattach`: they
    can be held by several.
    """

    def __init__(self, name: str | None, specs: Mapping[str, str]) -> None:
        """Read the specs, or raise `Unclear`."""
        self.name = name
        self._said = specs
        self._specs = list(read(specs))
        self.thin = thin(specs.get("provisioning:type", "thin"))
        # Who asks for a backend that can share its volumes wants to share them.
        asked = [s for s in self._specs if s.path == ("multiattach",)]
        self.multiattach = any(
            [*map(s.holds, (True, False))] == [True, False] for s in asked
        )

    @cached_property
    def shared(self) -> VolumeType:
        """The type of a volume that is to be held by several, whatever this says."""
        return VolumeType(self.name, {**self._said, "multiattach": "<is> True"})

    def unmet(self, capabilities: Mapping[str, Any]) -> str | None:
        """Return the specs that the capabilities do not meet, or None."""
        found = (spec.unmet(capabilities) for spec in self._specs)
        return ", ".join(filter(None, found)) or None


def read(specs: Mapping[str, str]) -> Iterator[Spec]:
    """Yield the specs that are about capabilities, or raise `Unclear`."""
    for key, said in specs.items():
        scope, *path = key.split(":")
        if not path or scope == "capabilities":
            yield Spec(key, said, tuple(path or [scope]), condition(key, said))


def condition(key: str, said: str) -> Callable[[Any], bool]:
    """Return what tells whether a capability is as is said, or raise `Unclear`."""
    word, *rest = said.split(maxsplit=1) or [""]
    if word not in OPERATORS:
        if BEGINS_LIKE_ONE.match(word):
            raise Unclear(
                key, f"{word} is no operator; there are {' '.join(OPERATORS)}"
            )
        return partial(alike, said)
    operand, compare = OPERATORS[word]
    try:
        wanted = operand.wanted("".join(rest).strip())
    except ValueError:
        raise Unclear(key, f"{word} is followed by {operand.name}") from None
    return partial(compares, operand.told, compare, wanted)


def compares(
    read: Callable[[Any], Any],
    compare: Callable[[Any, Any], bool],
    wanted: object,
    told: object,
) -> bool:
    """Tell whether what is told compares; what cannot be read does not."""
    try:
        return compare(read(told), wanted)
    except (ValueError, TypeError):
        return False


def alike(said: str, told: object) -> bool:
    """Tell whether a capability is what is said, in words for its kind."""
    return compares(PLAIN.get(type(told), str), operator.eq, told, said)


def spelt(path: tuple[str, ...], told: object) -> list[Any]:
    """Return a capability in each of its spellings; a list is one of each."""
    each = told if isinstance(told, list) else [told]
    if path != ("storage_protocol",):
        return each
    return [s for t in each for s in next((v for v in SPELLINGS if t in v), (t,))]


def thin(said: str) -> bool:
    """Return whether room may be promised more than once, or raise `Unclear`."""
    if said not in PROVISIONED:
        raise Unclear("provisioning:type", "must be thin or thick")
    return PROVISIONED[said]

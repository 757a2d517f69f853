"""Signed notes: a text that says who vouches for it (C2SP's signed-note).

A note is the text, an empty line, and a line for each signature. It is read with
the eyes, and checked by whatever program knows the format. Keys are Ed25519, and
written as `name+id+key`; what signs has `PRIVATE+KEY+` in front.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

ED25519 = b"\1"
PRIVATE = "PRIVATE+KEY+"
NAME = re.compile(r"[^\s+]{1,255}")
SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+=*)")
MOST_SIGNATURES = 100


class NotAKey(Exception):
    """What was given as a key is none."""

    def __str__(self) -> str:
        return "that is no key of a signed note, which is name+id+key"


class NotANote(Exception):
    """What should be a signed note is not of that form."""

    def __str__(self) -> str:
        return "that is no signed note"


@dataclass(eq=False)
class NotSigned(Exception):
    """A note lacks the signature that was looked for, or that is wrong."""

    name: str

    def __str__(self) -> str:
        return f"that was not signed with the key of {self.name}"


@dataclass(frozen=True)
class Verifier:
    """Who may sign: a name, and the 32 bytes of a public key."""

    name: str
    public: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what `str` has written, or raise `NotAKey`."""
        name, key_id, key = parts_of(text.strip())
        verifier = cls(name, key)
        if verifier.key_id.hex() != key_id:
            raise NotAKey
        return verifier

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64(ED25519 + self.public)}"

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature says whose it is."""
        name = self.name.encode()
        return sha256(name + b"\n" + ED25519 + self.public).digest()[:4]

    def opened(self, note: str) -> str:
        """Return the text of a note that was signed so; others may have signed too.

        Raises `NotANote` and `NotSigned`.
        """
        text, blank, signatures = note.rpartition("\n\n")
        text += "\n"
        if not blank or not printable(text):
            raise NotANote
        for name, signature in signed_by(signatures):
            if name == self.name and signature[:4] == self.key_id:
                self._check(text, signature[4:])
                return text
        raise NotSigned(self.name)

    def _check(self, text: str, signature: bytes) -> None:
        try:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(signature, text.encode())
        except (InvalidSignature, ValueError) as wrong:
            raise NotSigned(self.name) from wrong


@dataclass(frozen=True)
class Signer:
    """Who signs: a name, and the 32 bytes that must be kept secret."""

    name: str
    secret: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what `str` has written, or raise `NotAKey`."""
        text = text.strip()
        if not text.startswith(PRIVATE):
            raise NotAKey
        name, key_id, key = parts_of(text.removeprefix(PRIVATE))
        signer = cls(name, key)
        if signer.verifier.key_id.hex() != key_id:
            raise NotAKey
        return signer

    def __str__(self) -> str:
        key_id = self.verifier.key_id.hex()
        return f"{PRIVATE}{self.name}+{key_id}+{base64(ED25519 + self.secret)}"

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def verifier(self) -> Verifier:
        """What others need to know."""
        key = Ed25519PrivateKey.from_private_bytes(self.secret)
        return Verifier(self.name, key.public_key().public_bytes_raw())

    def signed(self, text: str) -> str:
        """Return a text, which ends in a newline, as a note."""
        key = Ed25519PrivateKey.from_private_bytes(self.secret)
        signature = self.verifier.key_id + key.sign(text.encode())
        return f"{text}\n— {self.name} {base64(signature)}\n"


def parts_of(text: str) -> tuple[str, str, bytes]:
    """Return the name, the id and the 32 bytes of a key."""
    name, _, rest = text.partition("+")
    key_id, _, told = rest.partition("+")
    try:
        key = bytes_of(told)
    except NotANote:
        raise NotAKey from None
    if not NAME.fullmatch(name) or key[:1] != ED25519 or len(key) != 1 + 32:
        raise NotAKey
    return name, key_id, key[1:]


def signed_by(lines: str) -> list[tuple[str, bytes]]:
    """Return the name and the bytes of each signature below a text."""
    *signatures, end = lines.split("\n")
    found = [each for each in map(SIGNATURE.fullmatch, signatures) if each]
    if end or len(found) < len(signatures) or not 0 < len(found) <= MOST_SIGNATURES:
        raise NotANote
    return [(each[1], bytes_of(each[2])) for each in found]


def printable(text: str) -> bool:
    """Tell whether a text has no control characters but the ends of its lines."""
    return all(line.isprintable() for line in text.split("\n"))


def base64(data: bytes) -> str:
    """Return bytes as a note has them."""
    return b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    """Return what `base64` has written, in the one way it is written."""
    try:
        data = b64decode(text, validate=True)
    except ValueError as wrong:
        raise NotANote from wrong
    if base64(data) != text:
        raise NotANote
    return data

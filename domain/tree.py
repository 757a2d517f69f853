"""The tree: one hash for the whole log, and short proofs of what is in it.

It is the Merkle tree of RFC 9162, section 2.1, over rows packed as `domain.chain`
says: anybody's implementation of it checks ours. Where the chain takes the whole
log to tell that a row is in it, or that it only ever grew, this takes some twenty
hashes for a million rows. Leaves count from 0, so position n is leaf n - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY = sha256().digest()
GRAIN = 1024  # leaves under the smallest subtree that is remembered
MOST_READ = 8  # GRAINs whose leaves are in memory

# Leaves from the first to before the second.
Span = tuple[int, int]


def leaf(row: bytes) -> bytes:
    """Return the hash of a row packed as the chain has it."""
    return sha256(b"\0" + row).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The complete subtrees that so many leaves make, the largest first.

    They are all that is needed to go on, and one for each bit of the size.
    """

    __slots__ = ("roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self.roots = list(roots)

    def add(self, leaf: bytes) -> None:
        """Take the next leaf in."""
        roots, size = self.roots, self.size
        while size & 1:
            leaf = node(roots.pop(), leaf)
            size >>= 1
        roots.append(leaf)
        self.size += 1

    @property
    def head(self) -> bytes:
        """The root hash of all leaves so far."""
        return joined(self.roots)


def joined(roots: Sequence[bytes]) -> bytes:
    """Return the root hash over complete subtrees, the largest first."""
    if not roots:
        return EMPTY
    *before, head = roots
    for root in reversed(before):
        head = node(root, head)
    return head


def head_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root hash of leaves."""
    frontier = Frontier()
    for each in leaves:
        frontier.add(each)
    return frontier.head


class Tree:
    """The hash of any span of leaves that a proof names, without reading them all.

    It remembers complete subtrees from `GRAIN` leaves on, 64 bytes for so many rows,
    and has `leaves` read what else it needs: two or three times as many for a proof.
    """

    def __init__(self, leaves: Callable[[int, int], Iterable[bytes]]) -> None:
        self._leaves = leaves
        self._levels: list[list[bytes]] = [[]]  # of GRAIN leaves, of twice as many …
        self.end = 0
        self._read: dict[Span, list[bytes]] = {}  # some GRAINs, the last one in part

    @property
    def size(self) -> int:
        """How many leaves are remembered."""
        return len(self._levels[0]) * GRAIN

    def grow(self, size: int) -> None:
        """Remember what is complete of so many leaves; no span may end behind them."""
        end = size // GRAIN * GRAIN
        frontier = Frontier()
        if self.size < end:
            for each in self._leaves(self.size, end):
                frontier.add(each)
                if frontier.size == GRAIN:
                    self._remember(frontier.head)
                    frontier = Frontier()
        self.end = max(self.end, size)

    def head(self, begin: int, end: int) -> bytes:
        """Return the root hash of a span, which is one of the tree's subtrees."""
        width = end - begin
        if width < GRAIN:
            first = begin % GRAIN
            return head_of(self._grain(begin - first)[first : first + width])
        if width & (width - 1) == 0 and end <= self.size:
            return self._levels[(width // GRAIN).bit_length() - 1][begin // width]
        middle = begin + split(width)
        return node(self.head(begin, middle), self.head(middle, end))

    def _grain(self, begin: int) -> list[bytes]:
        """Return the leaves of one GRAIN, as far as there are any."""
        span = begin, min(begin + GRAIN, self.end)
        if span not in self._read:
            self._read[span] = list(self._leaves(*span))
            if len(self._read) > MOST_READ:
                del self._read[next(iter(self._read))]
        return self._read[span]

    def _remember(self, head: bytes) -> None:
        for level in self._levels:
            level.append(head)
            if len(level) % 2:
                return
            head = node(*level[-2:])
        self._levels.append([head])


def split(size: int) -> int:
    """Return the largest power of two below a size: the leaves on the left."""
    return 1 << (size - 1).bit_length() - 1


def inclusion(index: int, size: int) -> list[Span]:
    """Return whose hashes prove that a leaf is among so many, the lowest first."""
    begin, end, spans = 0, size, []
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    return spans[::-1]


def consistency(first: int, second: int) -> list[Span]:
    """Return whose hashes prove that so many leaves begin with the first of them."""
    begin, end, spans = 0, second, []
    while 0 < first < end:
        middle = begin + split(end - begin)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    if begin:  # else it is the whole first tree, whose hash is known
        spans.append((begin, end))
    return spans[::-1]


def is_included(
    leaf: bytes, index: int, size: int, path: Iterable[bytes], head: bytes
) -> bool:
    """Tell whether hashes prove that a leaf is at its place (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last = index, size - 1
    for other in path:
        if not last:
            return False
        if here & 1 or here == last:
            leaf = node(other, leaf)
            here, last = climbed(here, last)
        else:
            leaf = node(leaf, other)
        here, last = here >> 1, last >> 1
    return not last and leaf == head


def is_consistent(
    first: int, second: int, path: Sequence[bytes], before: bytes, after: bytes
) -> bool:
    """Tell whether hashes prove that a tree only grew (RFC 9162, 2.1.4.2)."""
    if first in (0, second):
        return not path and before == (after if first else EMPTY)
    if not (0 < first < second and path):
        return False
    seed, *others = path if first & (first - 1) else (before, *path)
    here, last = first - 1, second - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = seed
    for other in others:
        if not last:
            return False
        if here & 1 or here == last:
            old, new = node(other, old), node(other, new)
            here, last = climbed(here, last)
        else:
            new = node(new, other)
        here, last = here >> 1, last >> 1
    return not last and (old, new) == (before, after)


def climbed(here: int, last: int) -> tuple[int, int]:
    """Return the next places above at which there is something on the left."""
    while here and not here & 1:
        here, last = here >> 1, last >> 1
    return here, last

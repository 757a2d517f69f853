"""The tree of RFC 9162, held to another implementation of it."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InclusionProof, InmemoryTree

from domain import tree
from domain.tree import (
    EMPTY,
    GRAIN,
    Frontier,
    Tree,
    consistency,
    head_of,
    inclusion,
    is_consistent,
    is_included,
)

ROWS = [b"row %d" % n for n in range(3 * GRAIN)]
LEAVES = list(map(tree.leaf, ROWS))
SHA256, SECURE = "sha256", True  # secure: leaves and nodes hashed apart, as in the RFC
SIZES = st.integers(1, 300)
# What is left of the path where a hash is missing, twice there, another, or misplaced.
SPOILT = (
    lambda path: path[1:],
    lambda path: path[:-1],
    lambda path: [*path, EMPTY],
    lambda path: [EMPTY, *path[1:]],
    lambda path: [*path[:-1], EMPTY],
    lambda path: path[::-1],
)


@pytest.fixture(scope="module")
def theirs() -> InmemoryTree:
    """The same leaves in pymerkle, whose defaults are those of RFC 6962 and 9162."""
    made = InmemoryTree(algorithm="sha256")
    made.append_entries(ROWS[:301])
    return made


def head(begin: int, end: int) -> bytes:
    return head_of(LEAVES[begin:end])


def path_of(spans: list[tree.Span]) -> list[bytes]:
    return [head(*span) for span in spans]


def subproof(first: int, begin: int, end: int, *, known: bool) -> list[tree.Span]:
    """Return SUBPROOF of RFC 9162, section 2.1.4.1, in its own words."""
    size = end - begin
    if first == size:
        return [] if known else [(begin, end)]
    middle = begin + max(2**n for n in range(9) if 2**n < size)
    if first <= middle - begin:
        return [*subproof(first, begin, middle, known=known), (middle, end)]
    rest = subproof(first - (middle - begin), middle, end, known=False)
    return [*rest, (begin, middle)]


def test_the_head_of_the_log_of_the_rfcs_authors() -> None:
    rows = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    rows.append("606162636465666768696a6b6c6d6e6f")

    assert head_of(tree.leaf(bytes.fromhex(row)) for row in rows).hex() == (
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


def test_no_rows_have_a_head_too(theirs: InmemoryTree) -> None:
    assert Frontier().head == EMPTY == theirs.get_root(0)


@given(size=SIZES)
def test_every_head_is_theirs(theirs: InmemoryTree, size: int) -> None:
    assert head(0, size) == theirs.get_root(size)


@given(size=SIZES, more=SIZES)
def test_a_frontier_goes_on_where_it_was_left(size: int, more: int) -> None:
    left = Frontier()
    for each in LEAVES[:size]:
        left.add(each)

    again = Frontier(left.size, left.roots)
    for each in LEAVES[size : size + more]:
        again.add(each)

    assert again.head == head(0, size + more)
    assert len(again.roots) == again.size.bit_count()


@given(st.data())
def test_every_proof_of_inclusion_is_theirs(
    theirs: InmemoryTree, data: st.DataObject
) -> None:
    size = data.draw(SIZES)
    index = data.draw(st.integers(0, size - 1))

    path = path_of(inclusion(index, size))

    assert [LEAVES[index], *path] == theirs.prove_inclusion(index + 1, size).path
    assert is_included(LEAVES[index], index, size, path, head(0, size))


@given(st.data())
def test_pymerkle_is_convinced_by_our_spans(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    index = data.draw(st.integers(0, size - 1))
    spans, proven = inclusion(index, size), LEAVES[index]

    rule = [int(begin < index) for begin, _ in spans] + [0]
    path = [proven, *path_of(spans)]
    InclusionProof(SHA256, SECURE, size, index + 1, rule, path).verify(
        proven, head(0, size)
    )


@given(st.data())
def test_pymerkle_finds_our_heads_consistent(
    theirs: InmemoryTree, data: st.DataObject
) -> None:
    size = data.draw(SIZES)
    first = data.draw(st.integers(1, size))

    # Its path is another one than the RFC's, for which there is the next test.
    theirs.prove_consistency(first, size).verify(head(0, first), head(0, size))


@given(st.data())
def test_every_proof_of_consistency_is_the_rfcs(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    first = data.draw(st.integers(1, size))

    spans = consistency(first, size)

    assert spans == subproof(first, 0, size, known=True)
    path = path_of(spans)
    assert is_consistent(first, size, path, head(0, first), head(0, size))


@given(st.data())
def test_nothing_else_is_included(data: st.DataObject) -> None:
    size = data.draw(SIZES.filter(lambda size: size > 1))
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
    spoil = data.draw(st.sampled_from(SPOILT))
    path, whole = path_of(inclusion(index, size)), head(0, size)

    assert not is_included(LEAVES[other], index, size, path, whole)
    assert not is_included(LEAVES[index], other, size, path, whole)
    assert not is_included(LEAVES[index], index, size, path, head(0, size + 1))
    assert not is_included(LEAVES[index], size, size, path, whole)
    if spoil(path) != path:
        assert not is_included(LEAVES[index], index, size, spoil(path), whole)


@given(st.data())
def test_nothing_else_is_consistent(data: st.DataObject) -> None:
    size = data.draw(SIZES.filter(lambda size: size > 1))
    first = data.draw(st.integers(1, size - 1))
    spoil = data.draw(st.sampled_from(SPOILT))
    path = path_of(consistency(first, size))
    before, after = head(0, first), head(0, size)

    assert not is_consistent(first, size, path, head(1, first + 1), after)
    assert not is_consistent(first, size, path, before, head(1, size + 1))
    assert not is_consistent(size, first, path, after, before)
    if spoil(path) != path:
        assert not is_consistent(first, size, spoil(path), before, after)


def test_what_begins_with_nothing_needs_no_proof() -> None:
    assert is_consistent(0, 9, [], EMPTY, head(0, 9))
    assert not is_consistent(0, 9, [], head(0, 1), head(0, 9))
    assert not is_consistent(9, 9, [], head(0, 9), head(1, 10))


@given(size=st.integers(1, 3 * GRAIN), first=st.integers(1, 3 * GRAIN), data=st.data())
def test_a_tree_that_remembers_proves_the_same(
    size: int, first: int, data: st.DataObject
) -> None:
    first, size = sorted((first, size))
    read = []

    def leaves(begin: int, end: int) -> islice[bytes]:
        read.append(end - begin)
        return islice(LEAVES, begin, end)

    remembering = Tree(leaves)
    remembering.grow(first)
    remembering.grow(size)
    read.clear()

    for begin, end in [*consistency(first, size), *inclusion(first - 1, size)]:
        assert remembering.head(begin, end) == head(begin, end)
    assert sum(read) < 6 * GRAIN

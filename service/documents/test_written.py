"""What people wrote agrees with the code: paths, settings, messages, commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from marshmallow import fields

from service.cli.app import app_of
from service.settings import (
    BackendSchema,
    DatabaseSchema,
    DeadlinesSchema,
    SettingsSchema,
)

ROOT = Path(__file__).parents[2]
STATUS = ROOT / "docs" / "status.md"  # of a moment: what was moved since is as it was
PAGES = [
    page
    for where in ("*.md", "docs/**/*.md", "features/*.md")
    for page in sorted(ROOT.glob(where))
    if page != STATUS
]
README = (ROOT / "README.md").read_text()
ROOMS = "adapters|bed|bench|campaign|deploy|docs|domain|features|projections|service"
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(rf"`((?:{ROOMS})/[\w./*-]*)`")
MADE = re.compile(r"bench/results.*\.json")  # where a measurement writes
CODE = re.compile(r"`([^`]+)`")
# What stands for something else in a message: …, N, DIR, 'db'.
STANDS_FOR = re.compile(r"…(?:/\w+/\w+)?|\b[A-Z]{1,9}\b|'db'|\(name\)|127\.0\.0\.1")
SHORTEST = 10  # characters that tell a message


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_path_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in LINK.findall(text) if "://" not in link]
    dead = [link for link in links if not (page.parent / link).exists()]
    paths = [path for path in PATH.findall(text) if not MADE.fullmatch(path)]
    dead += [path for path in paths if not any(ROOT.glob(path))]

    assert dead == []


def test_every_feature_that_is_named_is_there() -> None:
    named = re.findall(r"`([a-z]+ing_\w+)`", (ROOT / "features/README.md").read_text())
    there = {path.stem for path in ROOT.glob("features/*/*.feature")}

    assert named
    assert set(named) - there == set()


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs" / "decisions"
    pages = {page.name for page in decisions.glob("[0-9]*.md")}

    assert pages - set(LINK.findall((decisions / "README.md").read_text())) == set()


# Settings


def rows(title: str) -> list[list[str]]:
    """Return the cells of the first table of a chapter, without its head."""
    chapter = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    table = [line for line in chapter.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]


SETTINGS = {
    name: row
    for row in rows("Settings")
    for name in re.findall(r"[a-z_]+", " ".join(CODE.findall(row[0])))
}


def test_every_setting_is_explained() -> None:
    known = {field.data_key or name for name, field in SettingsSchema().fields.items()}

    assert known - SETTINGS.keys() == set()


@pytest.mark.parametrize("row", ["database", "deadlines", "backend"])
def test_every_key_of_a_table_is_explained(row: str) -> None:
    schemas = {
        "database": DatabaseSchema(),
        "deadlines": DeadlinesSchema(),
        "backend": BackendSchema(),
    }
    told = " ".join(SETTINGS[row])

    missing = [name for name in schemas[row].fields if f"`{name}`" not in told]
    wrong = [
        name
        for name, field in schemas[row].fields.items()
        if isinstance(field.load_default, int | float)
        and f"{field.load_default:g}" not in told
    ]
    assert missing + wrong == []


def test_every_default_is_the_one_that_is_told() -> None:
    plain = {
        name: field.load_default
        for name, field in SettingsSchema().fields.items()
        if isinstance(field, fields.String | fields.Integer) and field.load_default
    }
    wrong = {
        name: default
        for name, default in plain.items()
        if str(default) not in re.findall(r"[\w.:/-]+", SETTINGS[name][1])
    }

    assert wrong == {}


# Messages


@cache
def said() -> list[str]:
    """Return what the code may say, a blank for what is filled in."""
    found = []
    for room in ROOMS.split("|"):
        for path in (ROOT / room).rglob("*.py"):
            if not path.name.startswith("test_"):
                found += [*texts(ast.parse(path.read_text()))]
    return found


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                yield "".join(
                    str(each.value) if isinstance(each, ast.Constant) else "\0"
                    for each in values
                )
            case ast.Constant(value=str(text)):
                yield text


def is_said(message: str) -> bool:
    """Tell whether the code says so: its longest words, or it begins as a text does."""
    words = max(STANDS_FOR.split(message), key=len).strip(" :")
    if len(words) >= SHORTEST and any(words in text for text in said()):
        return True
    return any(pattern.search(message) for pattern in patterns())


@cache
def patterns() -> list[re.Pattern[str]]:
    """Return what texts with something filled in look like, and how they begin."""
    found = {
        ".*".join(map(re.escape, parts[:number]))
        for parts in (re.split("\0|%s", text) for text in said())
        for number in range(2, len(parts) + 1)
        if len("".join(parts[:number]).strip()) >= SHORTEST
    }
    return [*map(re.compile, found)]


MESSAGES = [
    message
    for cell, *_ in rows("When something is wrong")
    if " in the log of " not in cell  # what a server of others says
    for message in CODE.findall(cell)
]


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_that_is_explained_is_said(message: str) -> None:
    # What is refused begins with "not", whatever is not so.
    assert is_said(message) or is_said(message.removeprefix("not "))


def test_no_message_is_explained_twice() -> None:
    assert sorted(set(MESSAGES)) == sorted(MESSAGES)


# Commands

FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(?:\./go )?(?:HOLDFAST_\w+=\S* )?holdfast ([a-z].*)")
OPTION = re.compile(r"--[a-z][a-z-]*")


def told_to_run(text: str) -> list[str]:
    """Return what stands behind `holdfast` in what a page shows as code."""
    shown = [line for block in FENCE.findall(text) for line in block.splitlines()]
    shown += CODE.findall(FENCE.sub("", text))
    return [found for line in shown for found in COMMAND.findall(line)]


def wrong_in(told: str) -> list[str]:
    """Return the words of a command that it does not know."""
    command: Any = typer.main.get_command(app_of())
    words = told.partition(" #")[0].split()
    while words and (known := getattr(command, "commands", None)):
        if words[0] not in known:
            return words[:1] if re.fullmatch(r"[a-z][a-z-]*", words[0]) else []
        command = known[words.pop(0)]
    options = {name for each in command.params for name in each.opts}
    options |= {name for each in command.params for name in each.secondary_opts}
    return sorted(set(OPTION.findall(" ".join(words))) - options - {"--help"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_is_there(page: Path) -> None:
    told = told_to_run(page.read_text())

    assert {each: wrong for each in told if (wrong := wrong_in(each))} == {}

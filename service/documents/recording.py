"""Who has an event recorded, found by reading the functions that do it.

A decision calls methods of aggregates, and those name the events that they record.
What a variable holds is told by what it was taken from the log as; where nothing
tells, it may be any aggregate that has such a method.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

from domain.aggregate import Aggregate, Event
from domain.copying import Copied
from domain.log import AGGREGATES
from service.endpoints.endpoint import Endpoint

Function = Callable[..., Any]
Kinds = tuple[type[Aggregate], ...]

ALL: Kinds = tuple(AGGREGATES.values())
NAMED = {kind.__name__: (kind,) for kind in ALL} | {
    Copied.__name__: tuple(kind for kind in ALL if issubclass(kind, Copied))
}
WORD = re.compile(r"\w+")


def recorded_by(function: Function, *kinds: type[Aggregate]) -> set[str]:
    """Return the topics that a function, or a method of these kinds, may record."""
    found: set[str] = set()
    _look(function, kinds, found, set())
    return found


def _look(function: Any, owners: Kinds, found: set[str], seen: set[Any]) -> None:
    if (function, owners) in seen:
        return
    seen.add((function, owners))
    for cell in function.__closure__ or ():
        if isinstance(cell.cell_contents, Endpoint):
            _look(cell.cell_contents.decide, (), found, seen)
    reading = Reading(function, owners)
    found |= {event.TOPIC for event in reading.events()}
    for called, kinds in reading.calls():
        _look(called, kinds, found, seen)


class Reading:
    """What one function names and calls."""

    def __init__(self, function: Any, owners: Kinds) -> None:
        [defined] = ast.parse(dedent(inspect.getsource(function))).body
        assert isinstance(defined, ast.FunctionDef | ast.AsyncFunctionDef)
        self._body = defined.body
        self._globals = function.__globals__
        self._held: dict[str, Kinds] = {"self": owners, "cls": owners}
        for node in self._walk():
            self._take(node)

    def events(self) -> Iterator[type[Event]]:
        """Yield the events that are recorded, not those that are asked about."""
        asked_about = {id(part) for node in self._walk() for part in questions(node)}
        for node in self._walk():
            if isinstance(node, ast.Attribute) and id(node) not in asked_about:
                for kind in self._kinds(node.value):
                    event = getattr(kind, node.attr, None)
                    if isinstance(event, type) and issubclass(event, Event):
                        yield event

    def calls(self) -> Iterator[tuple[Function, Kinds]]:
        """Yield the functions of ours that it calls, with the kinds they are of."""
        for node in self._walk():
            match node:
                case ast.Name(id=name):
                    yield from functions(self._globals.get(name))
                case ast.Attribute(value=ast.Constant() | ast.JoinedStr()):
                    pass  # a method of some text
                case ast.Attribute(value=ast.Name(id=module), attr=name) if (
                    inspect.ismodule(self._globals.get(module))
                ):
                    yield from functions(getattr(self._globals[module], name, None))
                case ast.Attribute(value=value, attr=name):
                    for kind in self._kinds(value) or ALL:
                        method = getattr(kind, name, None)
                        yield from functions(getattr(method, "__func__", method), kind)

    def _walk(self) -> Iterator[ast.AST]:
        """Yield what is in the function's body."""
        for statement in self._body:
            yield from ast.walk(statement)

    def _take(self, node: ast.AST) -> None:
        """Note what variables hold."""
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)
            ):
                for name, value in zip(names, values, strict=True):
                    self._hold(name, value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value):
                for name in names:
                    self._hold(name, value)
            case (
                ast.Assign(targets=[name], value=value)
                | ast.AnnAssign(target=name, value=value)
                | ast.NamedExpr(target=name, value=value)
            ):
                self._hold(name, value)
            case (
                ast.For(target=name, iter=value)
                | ast.comprehension(target=name, iter=value)
            ):
                self._hold(name, value)

    def _hold(self, name: ast.AST, value: ast.AST | None) -> None:
        if isinstance(name, ast.Name) and value and (kinds := self._kinds(value)):
            self._held[name.id] = kinds

    def _kinds(self, value: ast.AST) -> Kinds:
        """Return the kinds of aggregate that an expression may be or is taken from."""
        match value:
            case ast.Call(args=[ast.Name(id=name), *_]) if kinds := self._named(name):
                return kinds  # log.get(Volume, …)
        return tuple(
            dict.fromkeys(
                kind
                for node in ast.walk(value)
                if isinstance(node, ast.Name)
                for kind in self._named(node.id)
            )
        )

    def _named(self, name: str) -> Kinds:
        if name in self._held:
            return self._held[name]
        told = self._globals.get(name)
        if isinstance(told, type):
            return (told,) if told in ALL else ()
        return kinds_of(told.__annotations__.get("return", "")) if is_ours(told) else ()


def questions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what only asks which event something is, or only says so."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, asked]):
            yield from ast.walk(asked)
        case ast.Dict(keys=keys):
            for key in filter(None, keys):
                yield from ast.walk(key)
        case ast.arg(annotation=said) | ast.AnnAssign(annotation=said):
            if said:
                yield from ast.walk(said)


def kinds_of(annotation: str) -> Kinds:
    """Return the kinds of aggregate that an annotation names."""
    return tuple(
        kind for word in WORD.findall(annotation) for kind in NAMED.get(word, ())
    )


def functions(told: Any, *kinds: type[Aggregate]) -> Iterator[tuple[Function, Kinds]]:
    """Yield a function, if it is one of ours, of aggregates of these kinds."""
    if is_ours(told):
        yield told, kinds


def is_ours(told: Any) -> bool:
    """Tell whether it is a function whose source says what it does."""
    ours = ("domain.", "service.")
    return inspect.isfunction(told) and told.__module__.startswith(ours)

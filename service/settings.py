"""Settings: one TOML file, and HOLDFAST_<KEY> for each plain key of it.

An unknown key is refused, in the file and in the environment, for a key that is spelt
wrong is one that is not set.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from domain.volume_type import Unclear, VolumeType
from service.messages.schema import BACKEND, WORD
from service.messages.text import words

FILE_DRIVER = "adapters.file.driver.FileDriver"
LVM_DRIVER = "adapters.lvm.driver.LvmDriver"
DRIVERS = {"lvm": LVM_DRIVER, "file": FILE_DRIVER}
IS_A_NAME = re.compile(str(BACKEND.regex.pattern))
MANAGER = "service.manager.VolumeManager"
ENVIRONMENT = "HOLDFAST_"
MOST_SECONDS = 1_000_000_000  # 31 years: a time so long ago can still be said
MOST_PROMISED = 1_000_000  # times what there is
LAST_PORT = 65_535
READ_ELSEWHERE = {"HOLDFAST_DATA", "HOLDFAST_LOG_LEVEL"}
# Kubernetes tells each container of the services beside it, one called `holdfast` too:
# a port alone as an address, so that one that is a number was meant for us.
OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST=|SERVICE_PORT\w*=|PORT=\w+://|PORT_\d+_\w+=)"
)


class Unusable(Exception):
    """Something cannot be used until somebody changes it; the message says why."""


class NotNow(Unusable):
    """Something cannot be used now, and may be as it is another time."""


@dataclass(frozen=True)
class BackendSettings:
    """One storage: who drives it, and what its driver wants to know."""

    name: str
    volume_driver: str
    reserved_percentage: int = 0
    max_over_subscription_ratio: float = 20.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deadlines:
    """Seconds that a volume or an attachment may stay in a transitional status."""

    creating: float
    extending: float
    deleting: float
    reserved: float
    attaching: float
    detaching: float
    managing: float
    unmanaging: float
    reverting: float


@dataclass(frozen=True)
class Settings:
    """What an installation has decided."""

    volume_manager: str
    volume_driver: str
    volume_group: str
    num_shell_tries: int
    nats_url: str
    agent_key: str
    checkpoint_key: str
    checkpoint_file: str
    checkpoint_events: int
    checkpoint_seconds: int
    metrics_listen: str
    log_format: str
    database: Mapping[str, str | int]
    deadlines: Deadlines
    backends: tuple[BackendSettings, ...]
    volume_types: Mapping[str, Mapping[str, str]]

    @property
    def key(self) -> bytes:
        """What agents and replicas sign with."""
        return self.agent_key.encode()


class Strict(Schema):
    class Meta:
        unknown = RAISE


class DriverClass(fields.String):
    """The dotted path of a driver's class, or the word for one of ours."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        told = super()._deserialize(value, *args, **kwargs)
        return DRIVERS.get(told, told)


def seconds(default: float) -> fields.Float:
    bounds = validate.Range(min=0.05, max=MOST_SECONDS)
    return fields.Float(load_default=default, validate=bounds)


class Whole(fields.Integer):
    """A whole number; in the environment it is text."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool | float):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **kwargs)


def whole(default: int, least: int, most: int | None = None) -> Whole:
    bounds = validate.Range(min=least, max=most)
    return Whole(load_default=default, validate=bounds)


class DeadlinesSchema(Strict):
    creating = seconds(900)
    extending = seconds(900)
    deleting = seconds(3600)
    reserved = seconds(3600)
    attaching = seconds(900)
    detaching = seconds(900)
    managing = seconds(900)
    unmanaging = seconds(900)
    reverting = seconds(3600)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Deadlines:
        return Deadlines(**data)


class DatabaseSchema(Strict):
    """Where PostgreSQL is; a host that begins with "/" is a socket's folder."""

    dbname = fields.String(load_default="holdfast")
    host = fields.String(load_default="127.0.0.1")
    port = whole(5432, 1, LAST_PORT)
    user = fields.String(load_default="holdfast")
    password = fields.String(load_default="")
    schema = fields.String(load_default="public")


class BackendSchema(Schema):
    """A backend; the keys that are not named here are its driver's own."""

    class Meta:
        unknown = "include"

    name = fields.String(required=True, validate=BACKEND)
    volume_driver = DriverClass(load_default=None)
    reserved_percentage = whole(0, 0, 100)
    max_over_subscription_ratio = fields.Float(
        load_default=20.0, validate=validate.Range(min=1, max=MOST_PROMISED)
    )


def a_server(url: str) -> None:
    """Refuse what is no address of a NATS server, or of several."""
    try:
        told = urlsplit(url if "://" in url else f"nats://{url}")
        usable = told.port != 0 and told.scheme in ("nats", "tls")
    except ValueError:
        usable = False
    if not usable or not told.hostname or re.search(r"[\s,]", url):
        raise ValidationError("Must be one server, as nats://HOST:PORT.")


def a_listener(address: str) -> None:
    """Refuse what is no place to listen at."""
    host, _, port = address.rpartition(":")
    usable = re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) <= LAST_PORT
    if address and not (host and usable):
        raise ValidationError("Must be HOST:PORT.")


def clear(specs: dict[str, str]) -> None:
    """Refuse extra specs that no backend could be held to."""
    try:
        VolumeType(None, specs)
    except Unclear as unclear:
        raise ValidationError(str(unclear)) from unclear


class SettingsSchema(Strict):
    volume_manager = fields.String(load_default=MANAGER)
    volume_driver = DriverClass(load_default="")  # the way it is run decides
    volume_group = fields.String(load_default="cinder-volumes")
    num_shell_tries = whole(3, 1)
    nats_url = fields.String(load_default="nats://127.0.0.1:4222", validate=a_server)
    agent_key = fields.String(load_default="")
    checkpoint_key = fields.String(load_default="")
    checkpoint_file = fields.String(load_default="")
    checkpoint_events = whole(10_000, 1)
    checkpoint_seconds = whole(60, 1)
    metrics_listen = fields.String(load_default="", validate=a_listener)
    log_format = fields.String(
        load_default="logfmt", validate=validate.OneOf(["logfmt", "json"])
    )
    database = fields.Nested(
        DatabaseSchema, load_default=lambda: DatabaseSchema().load({})
    )
    deadlines = fields.Nested(
        DeadlinesSchema, load_default=lambda: DeadlinesSchema().load({})
    )
    backends = fields.List(
        fields.Nested(BackendSchema), data_key="backend", load_default=list
    )
    volume_types = fields.Dict(
        fields.String(validate=WORD),
        fields.Dict(fields.String(), fields.String(), validate=clear),
        data_key="volume_type",
        load_default=dict,
    )

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Settings:
        backends = [backend_of(told, data) for told in data.pop("backends")]
        folders = [b.options["folder"] for b in backends if "folder" in b.options]
        if not all(map(is_folder, folders)):
            raise ValidationError("A folder is an absolute path, as text.", "backend")
        for what, told in (
            ("name", [backend.name for backend in backends]),
            ("folder", [os.path.realpath(folder) for folder in folders]),
        ):
            if len(set(told)) < len(told):
                raise ValidationError(f"Two backends have the same {what}.", "backend")
        return Settings(**data, backends=tuple(backends))


def is_folder(told: object) -> bool:
    """Tell whether it is a path, and the same wherever we are started."""
    return isinstance(told, str) and Path(told).is_absolute() and "\0" not in told


def backend_of(told: dict[str, Any], data: dict[str, Any]) -> BackendSettings:
    """Return a backend's settings, the driver's own keys apart."""
    known = {name: told.pop(name) for name in BackendSchema().fields}
    known["volume_driver"] = known["volume_driver"] or data["volume_driver"]
    return BackendSettings(**known, options=told)


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in a file, if one is named, and the environment's.

    Raises `Unusable`.
    """
    told = read(path) if path else {}
    told |= from_environment(environment)
    try:
        settings: Settings = SettingsSchema().load(told)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        errors: Any = error.messages
        if isinstance(wrong := errors.get("backend"), dict):
            errors["backend"] = {
                called(told["backend"][number], number): why
                for number, why in wrong.items()
            }
        said = "; ".join(f"{name}: {words(why)}" for name, why in errors.items())
        raise Unusable(f"{where}{said}") from error
    return settings


def called(backend: Any, number: int) -> str:
    """Return what the settings call a backend, or which of them it is."""
    name = backend.get("name") if isinstance(backend, dict) else None
    return name if isinstance(name, str) and name else f"number {number + 1}"


def read(path: Path) -> dict[str, Any]:
    """Return what a TOML file says."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} is no TOML: {error}") from error


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the plain keys that the environment sets; raise `Unusable`."""
    named = plain_keys()
    known = named.keys() | READ_ELSEWHERE
    for key, value in environment.items():
        others = OF_KUBERNETES.match(f"{key}={value}")
        if key.startswith(ENVIRONMENT) and not others and key not in known:
            near = get_close_matches(key, known, 1, 0.8)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise Unusable(f"{key} is no setting that the environment can have{meant}")
    return {named[key]: value for key, value in environment.items() if key in named}


def forget(environment: MutableMapping[str, str]) -> None:
    """Leave what the environment has set to no program that we start."""
    for key in plain_keys():
        environment.pop(key, None)


def plain_keys() -> dict[str, str]:
    """Return the plain keys by what they are called in the environment."""
    plain = {
        name
        for name, kind in SettingsSchema().fields.items()
        if isinstance(kind, fields.String | fields.Integer)
    }
    return {f"{ENVIRONMENT}{name.upper()}": name for name in plain}


def database_of(settings: Settings) -> dict[str, str]:
    """Return the settings of the database as the eventsourcing library takes them."""
    return {
        f"POSTGRES_{name.upper()}": str(value)
        for name, value in settings.database.items()
    }


def found(dotted: str) -> Any:
    """Return the class at a dotted path."""
    module, _, name = dotted.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise Unusable(f"there is no class {dotted}") from error
    if not isinstance(kind, type):
        raise Unusable(f"{dotted} is no class")
    return kind

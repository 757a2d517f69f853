"""The named points at which a program can be killed: a new one is a line."""

from __future__ import annotations

from typing import Any, NamedTuple

SERVE, KEEPER, AGENT = "serve", "keeper", "agent"


class Point(NamedTuple):
    """A moment in the life of a program: before a function's work, or after it."""

    name: str
    program: str
    when: str
    where: str
    at_start: bool = False  # so that it is started anew for it
    calls: int = 1  # how many of them are worth dying in
    thick: int = 1  # likewise, where thick volumes are looked at by themselves


LOG = "service.deciding.log:Log"
APPENDER = "adapters.postgres.appending:Appender"
READING = "service.reading:Reading"
PROJECTING = "service.keeping.projecting:Projecting"
WATCHER = "service.keeping.watcher:Watcher"
SENDING = "service.endpoints.sending"
ROWS = "adapters.postgres.read_models:PostgresReadModels"
PAGE = "adapters.jetstream.publisher"
PUBLISHER = f"{PAGE}:Publisher"
DIRECT = "adapters.jetstream.direct:Direct"
REPORTER = "adapters.jetstream.reporting:Reporter"
SERVICE = "adapters.jetstream.telling:Service"
WORKER = "adapters.jetstream.agent:Agent"
TAKING = "_take_what_is_in_flight"
DRIVER = "adapters.file.driver:FileDriver"
DISK = "adapters.file.volumes"
TOGETHER = "take_group_snapshot"
LVM = "adapters.lvm.driver:LvmDriver"
SHELL = "adapters.lvm.shell:Process"
FRONTS = "adapters.lvm.fronts:Fronts"
MAPPER = "adapters.lvm.mapper:Mapper"
CLEARING = "adapters.lvm.clearing"
LVS = "adapters.lvm.lvs:Lvs"
FILLING = "adapters.lvm.filling"
AT_ONCE = "adapters.lvm.together:Together.take_at_once"
VISIT = "adapters.targets.configfs:Visit"
SWEEPER = "adapters.jetstream.sweeping:Sweeper"

# fmt: off
TABLE: list[tuple[Any, ...]] = [
    ("a command comes in",            SERVE,  "before", f"{LOG}.submit"),
    ("decided, not in a batch yet",   SERVE,  "after",  f"{LOG}._decide"),
    ("a batch is about to be stored", SERVE,  "before", f"{APPENDER}.append"),
    ("committed, and nobody knows",   SERVE,  "after",  f"{APPENDER}.append"),
    ("stored, not answered",          SERVE,  "before", f"{LOG}._answer"),
    ("answered in part",              SERVE,  "after",  f"{LOG}._reply"),
    ("answered, not published yet",   SERVE,  "before", f"{DIRECT}._send"),
    ("answered, and published",       SERVE,  "after",  f"{DIRECT}._send"),
    ("about to send an answer",       SERVE,  "before", f"{SENDING}:send"),
    ("an answer was sent",            SERVE,  "after",  f"{SENDING}:send"),
    ("about to decide again",         SERVE,  "before", f"{LOG}._decide_again"),
    ("about to answer a repeat",      SERVE,  "before", f"{LOG}._repeat"),
    ("a list is asked for",           SERVE,  "before", f"{READING}.listed"),
    ("an agent asks for its work",    SERVE,  "after",  f"{READING}.in_flight"),
    ("a page is about to go out",     KEEPER, "before", f"{PUBLISHER}._publish"),
    ("a page is being put together",  KEEPER, "after",  f"{PAGE}:as_message"),
    ("a page is out, not confirmed",  KEEPER, "after",  f"{PAGE}:send"),
    ("a page is out",                 KEEPER, "after",  f"{PUBLISHER}._publish"),
    ("rows are about to be stored",   KEEPER, "before", f"{ROWS}.store"),
    ("rows are stored, nobody told",  KEEPER, "after",  f"{ROWS}.store"),
    ("a rebuilt table takes over",    KEEPER, "before", f"{ROWS}.swap"),
    ("a rebuilt table is read",       KEEPER, "after",  f"{ROWS}.swap"),
    ("it begins to lead",             KEEPER, "before", f"{PROJECTING}.start", True),
    ("a deadline has passed",         KEEPER, "before", f"{WATCHER}._submit"),
    ("about to create",               AGENT,  "before", f"{DRIVER}.create"),
    ("half made",                     AGENT,  "after",  f"{DISK}:truncate"),
    ("made under another name",       AGENT,  "before", f"{DISK}:Volumes.complete"),
    ("made, not durably",             AGENT,  "before", f"{DISK}:sync"),
    ("created",                       AGENT,  "after",  f"{DRIVER}.create"),
    ("about to extend",               AGENT,  "before", f"{DRIVER}.extend"),
    ("extended",                      AGENT,  "after",  f"{DRIVER}.extend"),
    ("about to delete",               AGENT,  "before", f"{DRIVER}.delete"),
    ("half removed",                  AGENT,  "before", f"{DISK}:empty"),
    ("deleted",                       AGENT,  "after",  f"{DRIVER}.delete"),
    ("about to connect",              AGENT,  "before", f"{DRIVER}.connect"),
    ("disconnected",                  AGENT,  "after",  f"{DRIVER}.disconnect"),
    ("about to take a snapshot",      AGENT,  "before", f"{DRIVER}.take_snapshot"),
    ("a snapshot was taken",          AGENT,  "after",  f"{DRIVER}.take_snapshot"),
    ("about to delete a snapshot",    AGENT,  "before", f"{DRIVER}.delete_snapshot"),
    ("about to revert",               AGENT,  "before", f"{DRIVER}.revert"),
    ("what was is beside a volume",   AGENT,  "after",  f"{DISK}:Volumes.bring"),
    ("reverted",                      AGENT,  "after",  f"{DRIVER}.revert"),
    ("some of a group are taken",     AGENT,  "after",  f"{DISK}:Volumes.complete"),
    ("a group was taken",             AGENT,  "after",  f"{DRIVER}.{TOGETHER}"),
    ("members were looked at",        AGENT,  "after",  f"{DRIVER}.check_unused"),
    ("about to report",               AGENT,  "before", f"{REPORTER}._send"),
    ("reported, and nobody heard",    AGENT,  "after",  f"{SERVICE}.tell"),
    ("it has heard what to do",       AGENT,  "after",  f"{WORKER}.{TAKING}", True),
    ("the storage is being swept",    AGENT,  "before", f"{DISK}:Volumes.sweep", True),
]
# On LVM, in the order in which a volume's life comes by.
STEPS_TABLE: list[tuple[Any, ...]] = [
    ("before lvcreate",               AGENT,  "before", f"{LVM}.create"),
    ("LVM is told, and has not said", AGENT,  "after",  f"{SHELL}.say", False, 3),
    ("LVM has said that it is done",  AGENT,  "after",  f"{SHELL}.answer", False, 3),
    ("lvcreate is done",              AGENT,  "after",  f"{LVM}.create"),
    ("before an export",              AGENT,  "before", f"{LVM}.connect"),
    ("a front without a table",       AGENT,  "after",  f"{MAPPER}.create"),
    ("a front's table is loaded",     AGENT,  "after",  f"{MAPPER}.load", False, 2),
    ("a front is there",              AGENT,  "after",  f"{FRONTS}.make", False, 2),
    ("an export is half made",        AGENT,  "after",  f"{VISIT}.folder", False, 6),
    ("an export is half linked",      AGENT,  "after",  f"{VISIT}.link", False, 2),
    ("an export is half said",        AGENT,  "after",  f"{VISIT}.write", False, 4),
    ("an export is made",             AGENT,  "after",  f"{LVM}.connect"),
    ("before lvextend",               AGENT,  "before", f"{LVM}.extend"),
    ("lvextend is done",              AGENT,  "after",  f"{LVM}.extend"),
    ("before the export goes",        AGENT,  "before", f"{LVM}.disconnect"),
    ("the export is half gone",       AGENT,  "after",  f"{VISIT}.gone", False, 6),
    ("the export is gone",            AGENT,  "after",  f"{LVM}.disconnect"),
    ("before lvremove",               AGENT,  "before", f"{LVM}.delete"),
    ("the front is gone",             AGENT,  "after",  f"{FRONTS}.remove"),
    ("blocks are being cleared",      AGENT,  "after",  f"{CLEARING}:clear"),
    ("lvremove is done",              AGENT,  "after",  f"{LVM}.delete"),
    ("before a report",               AGENT,  "before", f"{REPORTER}._send", False, 3),
    ("a report is sent",              AGENT,  "after",  f"{SERVICE}.tell", False, 3),
    ("the group is set up",           AGENT,  "after",  f"{LVM}.set_up", True),
    ("before an export converges",    AGENT,  "before", f"{LVM}.converge", True),
    ("an export has converged",       AGENT,  "after",  f"{LVM}.converge", True),
]
# With snapshots, copies, reversions and groups, likewise; how often thin, and thick.
AMID_TABLE: list[tuple[Any, ...]] = [
    ("before a snapshot",              "before", f"{LVM}.take_snapshot",    1, 1),
    ("a snapshot is there",            "after",  f"{LVS}.snapshot_active",  5, 4),
    ("a snapshot is done",             "after",  f"{LVM}.take_snapshot",    1, 1),
    ("a part is copied",               "after",  f"{FILLING}:copy",         0, 3),
    ("a copy is done",                 "after",  f"{LVM}._fill",            1, 1),
    ("before a reversion",             "before", f"{LVM}.revert",           1, 1),
    ("a tag says what is so",          "after",  f"{LVS}.tag",              2, 3),
    ("another name is given",          "after",  f"{LVS}.rename",           2, 0),
    ("a helper is gone",               "after",  f"{LVS}.remove",           1, 1),
    ("a reversion is done",            "after",  f"{LVM}.revert",           1, 1),
    ("before all snapshots of some",   "before", AT_ONCE,                   1, 1),
    ("a front is held up",             "after",  f"{MAPPER}.suspend",       2, 2),
    ("a front goes on",                "after",  f"{FRONTS}._go_on",        2, 2),
    ("all snapshots are there",        "after",  AT_ONCE,                   1, 1),
    ("before a snapshot goes",         "before", f"{LVM}.delete_snapshot",  3, 3),
    ("a snapshot is split off",        "after",  f"{LVS}._split",           0, 3),
    ("a snapshot is gone",             "after",  f"{LVM}.delete_snapshot",  3, 3),
]
# fmt: on
POINTS = [Point(*row) for row in TABLE]
STEPS = [Point(*row) for row in STEPS_TABLE]
AMID = [
    Point(name, AGENT, when, where, calls=thin, thick=thick)
    for name, when, where, thin, thick in AMID_TABLE
]
EVERY = [*POINTS, *STEPS, *AMID]

"""The command against a running service, as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import Any
from uuid import uuid4

import pytest

from adapters.file.testing import copy_home
from service.cli.conftest import HOLDFAST, Shell


def test_a_volume_is_made_found_by_its_name_and_listed(shell: Shell) -> None:
    made = shell.told("volume", "create", "whole", "--size", "1", "--wait")

    listed = shell.run("volume", "list").stdout.splitlines()

    assert made["status"] == "available"
    assert shell.told("volume", "show", "whole")["id"] == made["id"]
    [line] = [line for line in listed if made["id"] in line]
    assert line.split() == [made["id"], "whole", "1", "available", "files"]


def test_the_beginning_of_an_id_is_enough(shell: Shell) -> None:
    key = f"facade00{str(uuid4())[8:]}"
    shell.told("volume", "create", "--size", "1", "--id", key)

    assert shell.told("volume", "show", "FACADE00")["id"] == key


def test_a_name_that_two_have_is_refused_with_both(shell: Shell) -> None:
    made = [shell.told("volume", "create", "twin", "--size", "1") for _ in range(2)]

    ended = shell.run("volume", "show", "twin")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert all(volume["id"] in ended.stderr for volume in made)


def test_a_name_is_completed_once_and_no_name_is_none(shell: Shell) -> None:
    for name in ("tabbed", "tabbed", "tabulated", ""):
        shell.told("volume", "create", name, "--size", "1", "--wait")

    def completed(begun: str) -> list[str]:
        words = f"holdfast volume show {begun}"
        more = {"_HOLDFAST_COMPLETE": "complete_bash", "COMP_WORDS": words}
        told = shell.run(more=more | {"COMP_CWORD": "3"}).stdout
        return told.rstrip("\n").split("\n")

    assert completed("tab") == ["tabbed", "tabulated"]
    assert "" not in completed("")


def test_a_deleted_volume_is_found_for_its_history(shell: Shell) -> None:
    shell.told("volume", "create", "gone", "--size", "1", "--wait")
    shell.told("volume", "delete", "gone", "--wait", "--reason", "no use, für nichts")

    ended = shell.run("audit", "history", "gone")

    assert ended.stdout.splitlines()[0].split()[:3] == ["TIME", "EVENT", "ACTOR"]
    assert "deleting → deleted" in ended.stdout
    assert "no use, für nichts" in ended.stdout


def test_an_auditor_looks_back(shell: Shell) -> None:
    before = shell.told("volume", "create", "past", "--size", "1", "--wait")
    shell.told("volume", "extend", "past", "--size", "2", "--wait", "--actor", "bo")
    position = str(before["position"])

    why = shell.run("audit", "why", "past").stdout
    then = shell.run("audit", "at", position, "volume", "list", "--name", "past").stdout
    changed = shell.told("audit", "diff", position, "--noun", "volume")

    assert "└─ volume.extension_started" in why
    assert f"grow volume {before['id']}" in why
    assert then.splitlines()[1].split()[1:4] == ["past", "1", "available"]
    told = next(item for item in changed["items"] if item["id"] == before["id"])
    assert told["fields"]["size_gib"] == {"before": 1, "after": 2}


def test_drift_is_listed_and_repaired_when_that_is_wanted(shell: Shell) -> None:
    made = shell.told("volume", "create", "shrunk", "--size", "2", "--wait")
    data = shell.data / "volumes" / made["id"] / "volume"
    os.truncate(data, 2**30)
    until_it_differs(shell, made["id"])

    listed = shell.run("backend", "drift", "files").stdout
    plan = shell.run("backend", "repair", "files").stdout  # nobody can be asked
    before = data.stat().st_size
    shell.told("backend", "repair", "files", "--yes", "--wait", "--reason", "shrunk")

    assert "volume.creation_finished" in listed
    assert "grow it to the size that the log says" in plan
    assert before == 2**30
    assert data.stat().st_size == 2 * 2**30


def test_a_repair_that_is_waited_for_and_not_done_is_told(shell: Shell) -> None:
    made = shell.told("volume", "create", "dead", "--size", "1", "--wait")
    home = shell.data / "volumes" / made["id"]
    kept = shell.data / "kept"
    copy_home(home, kept)
    shell.told("volume", "delete", "dead", "--wait")
    kept.rename(home)
    (home / "extra").touch()
    until_it_differs(shell, made["id"])

    ended = shell.run("backend", "repair", "files", "--yes", "--wait")

    assert ended.returncode == 1
    assert "extra" in ended.stderr
    assert ended.stderr.startswith("holdfast: ")
    assert home.exists()
    shutil.rmtree(home)


def until_it_differs(shell: Shell, volume_id: str) -> None:
    """Have the storage looked at until it is found to differ."""
    ends = time.monotonic() + 60
    found = False
    while not found:
        assert time.monotonic() < ends
        shell.told("backend", "initialize", "files")
        items = shell.told("backend", "drift", "files")["items"]
        found = any(item["subject"] == volume_id for item in items)


def test_a_wait_that_fails_is_told_with_its_reason(shell: Shell) -> None:
    made = shell.told("volume", "create", "busy", "--size", "1", "--wait")

    with (shell.data / "volumes" / made["id"] / "volume").open():
        ended = shell.run("volume", "delete", "busy", "--wait")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "is in use by process" in ended.stderr


def test_storage_becomes_a_volume_and_is_itself_again(shell: Shell) -> None:
    with (shell.data / "volumes" / "incoming" / "disk-1").open("w") as file:
        file.truncate(2**30)

    listed = shell.run("volume", "manageable", "files").stdout.splitlines()
    made = shell.told("volume", "manage", "files", "disk-1", "--name", "own", "--wait")
    gone = shell.told("volume", "unmanage", "own", "--wait")
    then = shell.told("volume", "manageable", "files", "--limit", "1000")

    assert ["disk-1", "1", "yes"] in [line.split() for line in listed]
    assert (made["status"], made["size_gib"]) == ("available", 1)
    assert gone["status"] == "deleted"
    left = {"source-name": f"volume-{made['id']}"}
    assert [
        item["safe_to_manage"] for item in then["items"] if item["reference"] == left
    ] == [True]


def test_what_cannot_be_managed_is_told_with_its_reason(shell: Shell) -> None:
    ended = shell.run("volume", "manage", "files", "nothing", "--wait")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "there is no plain file" in ended.stderr


def test_an_attachment_goes_through_its_life(shell: Shell) -> None:
    shell.told("volume", "create", "held", "--size", "1", "--wait", "30")
    key = shell.told("attachment", "create", "held", "--instance", "web-1")["id"]

    connected = shell.told("attachment", "update", key[:8], "--host", "node-1")
    done = shell.told("attachment", "complete", key[:8])
    listed = shell.told("attachment", "list", "--volume", "held")
    ended = shell.told("attachment", "delete", key[:8])

    assert connected["connection"]["data"]["device_path"].startswith("/")
    assert done["status"] == "attached"
    assert [item["id"] for item in listed["items"]] == [key]
    assert ended["status"] == "detached"
    assert "volume.attached" in shell.run("audit", "history", key).stdout


def test_a_snapshot_is_taken_copied_and_gone_back_to(shell: Shell) -> None:
    of = shell.told("volume", "create", "kept", "--size", "1", "--wait")["id"]
    first = shell.told("snapshot", "create", "kept", "--name", "monday", "--wait")
    second = shell.told("snapshot", "create", "kept", "--name", "tuesday", "--wait")
    copied = ("volume", "create", "copy", "--snapshot", "monday", "--wait")

    made = shell.told(*copied, "--size", "2")
    shell.told("volume", "revert", "kept", "tuesday", "--wait")
    chain = shell.run("snapshot", "list", "--volume", "kept").stdout.splitlines()

    assert (made["source"], made["size_gib"]) == ({"snapshot": first["id"]}, 2)
    assert [line.split() for line in chain[1:]] == [
        [first["id"], "monday", "1", "available", first["created_at"], "copy"],
        [second["id"], "tuesday", "1", "available", second["created_at"], "monday"],
    ]
    assert "volume.reversion_finished" in shell.run("audit", "history", of).stdout


def test_a_volume_goes_with_its_snapshots_when_that_is_said(shell: Shell) -> None:
    shell.told("volume", "create", "whole-one", "--size", "1", "--wait")
    taken = shell.told("snapshot", "create", "whole-one", "--wait")["id"]

    ended = shell.run("volume", "delete", "whole-one")
    gone = shell.told("volume", "delete", "whole-one", "--cascade", "--wait")

    assert ended.returncode == 1
    assert f"without snapshot {taken}" in ended.stderr
    assert gone["status"] == "deleted"
    assert shell.told("snapshot", "show", taken)["status"] == "deleted"


def test_a_group_goes_through_its_life(shell: Shell) -> None:
    made = shell.told("group", "create", "app", "--backend", "files")["id"]
    for name in ("app-db", "app-web"):
        shell.told("volume", "create", name, "--size", "1", "--wait")
    joined = ("--add-volume", "app-db", "--add-volume", "app-web")
    shell.told("group", "update", "app", *joined)

    taken = shell.told("group-snapshot", "create", "app", "--name", "night", "--wait")
    copied = ("group", "create-from-source", "app-2", "--group-snapshot", "night")
    copy = shell.told(*copied, "--wait")
    listed = shell.run("group-snapshot", "list", "--group", "app").stdout
    members = shell.told("volume", "list", "--group", "app-2")["items"]
    shell.told("group-snapshot", "delete", "night", "--wait")
    gone = shell.told("group", "delete", "app", "--delete-volumes", "--wait")

    assert (copy["status"], copy["source"]) == (
        "available",
        {"group_snapshot": taken["id"]},
    )
    assert [item["name"] for item in members] == ["app-db", "app-web"]
    assert f"night  {made}  available  per-volume" in listed
    assert gone["status"] == "deleted"


def test_a_consistency_group_is_a_group(shell: Shell) -> None:
    made = shell.told("consistency-group", "create", "own", "--backend", "files")
    shell.told("volume", "create", "own-db", "--size", "1", "--group", "own", "--wait")

    taken = shell.told("cgsnapshot", "create", "own", "--name", "exact-1", "--wait")
    copied = ("create-from-source", "own-2", "--group-snapshot", "exact-1")
    copy = shell.told("consistency-group", *copied, "--wait")
    shell.told("consistency-group", "update", "own", "--name", "own-1")
    shell.told("cgsnapshot", "delete", "exact-1", "--wait")
    gone = shell.told("consistency-group", "delete", "own-1", "--delete-volumes")

    assert (made["consistent"], made["status"]) == (True, "available")
    assert taken["consistency"] == "crash-consistent-group"
    assert (copy["consistent"], copy["status"]) == (True, "available")
    assert gone["status"] == "deleting"


def test_the_commands_of_consistency_groups_leave_others_alone(shell: Shell) -> None:
    shell.told("consistency-group", "create", "exact", "--backend", "files")
    shell.told("group", "create", "loose", "--backend", "files")
    member = "loose-db", "--size", "1", "--group", "loose"
    shell.told("volume", "create", *member, "--wait")
    shell.told("group-snapshot", "create", "loose", "--name", "loosely", "--wait")
    loose = shell.told("group", "show", "loose")
    taken = shell.told("group-snapshot", "show", "loosely")
    made = ("consistency-group", "create-from-source")

    told = [
        shell.run(*arguments, meant).stderr
        for by_name, by_id, *arguments in (
            ("loose", loose["id"], *made, "--source-group"),
            ("loosely", taken["id"], *made, "--group-snapshot"),
            ("loose", loose["id"], "consistency-group", "update", "--name", "mine"),
            ("loose", loose["id"], "consistency-group", "delete", "--delete-volumes"),
            ("loose", loose["id"], "cgsnapshot", "create"),
            ("loosely", taken["id"], "cgsnapshot", "delete"),
        )
        for meant in (by_name, by_id)
    ]

    assert all("no consistency-group" in e or "no cgsnapshot" in e for e in told[::2])
    assert all(f"group {loose['id']} is not consistent" in each for each in told[1::2])
    assert shell.told("group", "show", "loose")["version"] == loose["version"]
    assert shell.told("group-snapshot", "show", "loosely")["status"] == "available"


def test_two_sources_are_wrong_usage(shell: Shell) -> None:
    ended = shell.run("volume", "create", "--snapshot", "a", "--source-volume", "b")

    assert ended.returncode == 2
    assert "say one" in ended.stderr


def test_the_same_key_makes_one_volume(shell: Shell) -> None:
    asked = ("volume", "create", "once", "--size", "1", "--request-id", "key-1")

    assert shell.told(*asked)["id"] == shell.told(*asked)["id"]


def test_a_state_of_the_past_can_be_looked_at(shell: Shell) -> None:
    made = shell.told("volume", "create", "earlier", "--size", "1", "--wait")
    shell.told("volume", "extend", "earlier", "--size", "2", "--wait")
    position = str(made["position"])

    then = shell.told("audit", "state-at", "earlier", "--position", position)

    assert then["size_gib"] == 1


def test_a_backend_that_is_disabled_takes_no_volume(shell: Shell) -> None:
    shell.told("backend", "disable", "files", "--reason", "new disks")

    ended = shell.run("volume", "create", "--size", "1")
    shell.told("backend", "enable", "files")

    assert ended.returncode == 1
    assert "new disks" in ended.stderr


def test_the_log_is_intact_and_a_part_that_is_not_there_is_not(shell: Shell) -> None:
    assert shell.told("audit", "verify")["intact"]
    assert shell.run("audit", "verify", "--to", "1000000").returncode == 1


def test_a_refusal_is_one_line_and_for_programs_the_problem(shell: Shell) -> None:
    shell.told("volume", "create", "small", "--size", "1", "--wait")

    ended = shell.run("volume", "extend", "small", "--size", "1", "--json")

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["type"] == "invalid"
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_wrong_usage_is_one_line_that_says_where_to_read(shell: Shell) -> None:
    ended = shell.run("volume", "extend", "db")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "holdfast volume extend --help" in ended.stderr


def test_an_absent_service_is_one_line_that_says_how_to_start_it(shell: Shell) -> None:
    ended = shell.run("volume", "list", "--nats", "nats://127.0.0.1:1")

    assert ended.returncode == 3
    assert ended.stderr.count("\n") == 1
    assert "holdfast up" in ended.stderr


def test_a_folder_where_nothing_runs_is_no_service(shell: Shell) -> None:
    ended = shell.run("volume", "list", more={"HOLDFAST_DATA": "/nowhere"})

    assert ended.returncode == 3
    assert "holdfast up" in ended.stderr


def test_a_read_model_is_rebuilt(shell: Shell) -> None:
    made = shell.told("volume", "create", "listed", "--size", "1", "--wait")
    [before] = [i for i in projections(shell) if i["name"] == "volumes"]

    rebuilt = shell.told("projections", "rebuild", "volumes")

    assert rebuilt["generation"] == before["generation"] + 1
    assert rebuilt["position"] >= made["position"]
    assert {item["status"] for item in projections(shell)} == {"following"}
    assert "listed" in shell.run("volume", "list").stdout


def test_a_read_model_that_is_not_is_refused_with_those_that_are(shell: Shell) -> None:
    ended = shell.run("projections", "rebuild", "unknown")

    assert ended.returncode == 1
    assert (
        "there are attachments, backends, exports, group_snapshots, groups, in_flight, "
        "snapshots, volumes" in ended.stderr
    )


def projections(shell: Shell) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = shell.told("projections", "list")["items"]
    return items


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_command_whose_output_is_closed_ends_as_it_should(
    shell: Shell, closed: str
) -> None:
    asked = f"{HOLDFAST} volume list --data {shell.data} {closed}"
    ended = subprocess.run(
        ["sh", "-c", asked], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_cannot_show_is_written_another_way(
    shell: Shell, encoding: str
) -> None:
    ours, terminal = os.openpty()

    made = subprocess.run(
        [HOLDFAST, "volume", "create", "€", "--size", "1"],
        env=shell.environment | {"PYTHONIOENCODING": encoding},
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    with os.fdopen(ours, "rb") as shown:
        told = shown.read1()

    assert (made.returncode, made.stderr) == (0, b"")
    assert rb"\u20ac" in told

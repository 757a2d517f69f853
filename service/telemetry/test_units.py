"""The units for systemd are ones that it takes, and leave little exposed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
ANALYZE = shutil.which("systemd-analyze")
EXPOSED = 25  # of 100, by systemd's own measure

analyzed = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda unit: unit.name)
def test_a_unit_says_how_it_gets_its_settings(unit: Path) -> None:
    told = unit.read_text()

    assert "LoadCredential=holdfast.toml:/etc/holdfast/holdfast.toml\n" in told
    assert "--config ${CREDENTIALS_DIRECTORY}/holdfast.toml" in told


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*agent*")), ids=lambda u: u.name)
def test_an_agent_has_a_folder_for_its_lock_that_outlives_it(unit: Path) -> None:
    told = unit.read_text()

    assert "\nRuntimeDirectory=" in told
    assert "\nRuntimeDirectoryPreserve=" in told


def analyze(*arguments: object) -> str:
    """Return what systemd says, or fail with it."""
    told = [str(ANALYZE), *map(str, arguments)]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@analyzed
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        # Where the command is differs from machine to machine.
        here = unit.read_text().replace("/usr/bin/holdfast", shutil.which("true") or "")
        (tmp_path / unit.name.replace("@", "@1")).write_text(here)

    assert analyze("verify", "--man=no", *tmp_path.iterdir()) == ""


@analyzed
@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda unit: unit.name)
def test_a_unit_leaves_little_exposed(unit: Path) -> None:
    analyze("security", "--offline=true", f"--threshold={EXPOSED}", unit)


# Under a systemd, in a guest: process 1 of a namespace, for the guest has its own.

MANAGER = """
mount --make-rshared / && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
exec timeout 240 unshare --pid --fork --mount-proc --propagation shared --kill-child \
    env -i PATH="$PATH" container=bed /lib/systemd/systemd --unit=main.service
"""
MAIN = """
[Unit]
DefaultDependencies=no
[Service]
ExecStart=systemctl start tried@lvm-1
ExecStopPost=systemctl --force --force poweroff
"""
# A guest has no udev to make devices, and its python may be below /root.
HERE = """
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Restart=no
PrivateTmp=no
ProtectHome=read-only
CapabilityBoundingSet=CAP_MKNOD
DeviceAllow=block-* rwm
ExecStart=
ExecStart={python} {script}
StandardOutput=file:{said}
StandardError=inherit
"""
DRIVER = """
import sys
sys.path.insert(0, {root!r})
from adapters.contracts.drivers import CAUSE, NODE_1, asked
from adapters.lvm.driver import LvmDriver
from adapters.targets.choosing import target_of
from service.holding import lock_of
from service.settings import load
print(lock_of(load(None, {{}}), "lvm-1").parent)
driver, event = LvmDriver(target_of(owner="lvm-1", key=b"")), asked()
driver.set_up()
driver.create(event, CAUSE)
driver.connect(event.originator_id, NODE_1)
driver.extend(event.originator_id, 2)
driver.remove_export(event.originator_id)
driver.delete(event.originator_id, CAUSE.at)
print("done")
"""


@analyzed
@pytest.mark.lvm(lio=True, modules=("dm_thin_pool",))
def test_an_agent_on_lvm_may_do_what_its_driver_does(tmp_path: Path) -> None:
    subprocess.run(["vgcreate", "-q", "-y", "cinder-volumes", "/dev/ubda"], check=True)
    script, said = tmp_path / "script.py", tmp_path / "said"
    script.write_text(DRIVER.format(root=str(UNITS.parents[1])))
    units, settings = Path("/etc/systemd/system"), Path("/etc/holdfast")
    for folder in (units / "tried@.service.d", settings):
        folder.mkdir(parents=True)
    (settings / "holdfast.toml").touch()
    (units / "main.service").write_text(MAIN)
    unit = (UNITS / "holdfast-agent-lvm@.service").read_text()
    (units / "tried@.service").write_text(unit)
    here = HERE.format(python=sys.executable, script=script, said=said)
    (units / "tried@.service.d" / "here.conf").write_text(here)

    subprocess.run(["sh", "-c", MANAGER], check=False)

    assert said.read_text() == "/run/holdfast/lvm\ndone\n"

"""Neither Meson nor the build backend uses the network once the requirements are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from meson_runs import Probe, copy_source, run, succeed, tool
from needs import missing, need_command, root_is_required
from wheels import build, names_in

pytestmark = pytest.mark.builds


@pytest.fixture
def offline() -> list[str]:
    """The words before a command that has no network: not even a loopback that is up."""
    words = [need_command("unshare", "util-linux"), "--net"]
    if os.geteuid() != 0:
        words += ["--user", "--map-root-user"]
    devices = run(*words, "cat", "/proc/net/dev")
    if devices.returncode != 0:
        missing(f"no network namespace: {devices.stdout.strip()}", required=root_is_required())
    assert [line.split(":")[0].strip() for line in devices.stdout.splitlines()[2:]] == ["lo"]
    return words


def test_a_wheel_is_built_without_a_network(offline: list[str], tmp_path: Path) -> None:
    wheel = build("wheel", copy_source(tmp_path / "fuaio"), tmp_path / "wheels", under=offline)
    assert [name for name in names_in(wheel) if name.startswith("fuaio/aio/_core.")]


def test_the_probe_asks_without_a_network(offline: list[str], probe: Probe) -> None:
    succeed(*offline, tool("meson"), "setup", probe.build, probe.folder)
    assert '"io_prep_pwritev2"' in probe.build_json()

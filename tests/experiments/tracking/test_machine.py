"""What is collected of the machine, with each collector broken in turn: missing, failing, talking nonsense, hanging."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.tracking import machine

CARD = """<?xml version="1.0"?><nvidia_smi_log><driver_version>1.2</driver_version><gpu id="0">
<product_name>A card</product_name><persistence_mode>Enabled</persistence_mode>
<fb_memory_usage><total>{}</total></fb_memory_usage>{}</gpu></nvidia_smi_log>"""
MIG = "<mig_devices><mig_device><fb_memory_usage><total>9728 MiB</total></fb_memory_usage></mig_device></mig_devices>"
HANG = "sleep 60 & sleep 60"
COMMIT = "git -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m a"

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(name, script)` puts a command of one's own on a PATH that has it alone, and the shell's few words."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("sh", "sleep", "yes"):
        (bin_folder / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(bin_folder))

    def put(name: str, script: str) -> None:
        (bin_folder / name).write_text(f"#!{bin_folder / 'sh'}\n{script}\n")
        (bin_folder / name).chmod(0o755)

    return put


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def test_nothing_is_there(install: Install, tmp_path: Path) -> None:
    host, found = machine.collected(tmp_path)
    assert found == {}
    assert host["cpu"]
    assert "gpus" not in host
    assert host["notes"] == {"git": "there is no git on the PATH"}


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo nonsense", "nvidia-smi said 'nonsense', which is not XML"),
        ("exit 0", "nvidia-smi said '', which is not XML"),
        ("echo 'No devices were found' >&2; exit 6", "nvidia-smi ended with 6: No devices were found"),
        (HANG, "nvidia-smi didn't answer in time"),
        ("yes", "nvidia-smi doesn't stop writing"),
        ("kill -9 $$", "nvidia-smi ended with -9"),
    ],
)
def test_a_broken_look_at_the_gpus_is_a_note(install: Install, tmp_path: Path, script: str, told: str) -> None:
    install("nvidia-smi", script)
    start = time.monotonic()
    host, _ = machine.collected(tmp_path, limit=2.0)
    assert host["notes"]["gpus"] == told
    assert "gpus" not in host
    # The limit, and room for a busy machine; what hangs sleeps for a minute.
    assert time.monotonic() - start < 30.0


@pytest.mark.parametrize(
    ("total", "more", "megabytes"),
    [("81559 MiB", "", 81559), ("N/A", "", None), ("", "", None), ("Insufficient Permissions", MIG, 9728)],
)
def test_a_card_may_report_no_memory(install: Install, total: str, more: str, megabytes: int | None) -> None:
    install("nvidia-smi", f"echo '{CARD.format(total, more)}'")
    card = {"model": "A card", "total_memory": megabytes, "persistence_mode": True}
    assert machine.gpus() == {"driver_version": "1.2", "gpus": [card]}


def test_a_card_that_says_almost_nothing(install: Install) -> None:
    install("nvidia-smi", "echo '<log><gpu/></log>'")
    card = {"model": None, "total_memory": None, "persistence_mode": False}
    assert machine.gpus() == {"driver_version": None, "gpus": [card]}


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo nonsense", "git said 'nonsense', which is no commit"),
        (
            "echo 'fatal: detected dubious ownership' >&2; exit 128",
            "git ended with 128: fatal: detected dubious ownership",
        ),
        (HANG, "git didn't answer in time"),
    ],
)
def test_a_broken_look_at_the_sources_is_a_note(install: Install, tmp_path: Path, script: str, told: str) -> None:
    install("git", script)
    host, found = machine.collected(tmp_path, limit=2.0)
    assert (found, host["notes"]) == ({}, {"git": told})


def test_a_command_that_may_not_be_run_is_a_note(install: Install, tmp_path: Path) -> None:
    for name in ("git", "nvidia-smi"):
        install(name, "exit 0")
        (tmp_path / "bin" / name).chmod(0o644)
    host, _ = machine.collected(tmp_path)
    assert {name: note.split(":")[0] for name, note in host["notes"].items()} == dict.fromkeys(
        ("git", "gpus"), "PermissionError"
    )


def test_a_repository_without_a_commit_is_a_note(repository: Path) -> None:
    with pytest.raises(machine.NotKnown, match="git ended with 128: fatal: Needed a single revision"):
        machine.repository(repository)


def test_a_repository(repository: Path) -> None:
    (repository / "a").write_text("1")
    subprocess.run(["git", "add", "a"], cwd=repository, check=True)
    subprocess.run(COMMIT.split(), cwd=repository, check=True)
    found = machine.repository(repository)
    assert (len(found["commit"]), found["dirty"]) == (40, False)
    assert found["url"] == f"git:/{os.path.realpath(repository)}"
    (repository / "a").write_text("2")
    subprocess.run(["git", "remote", "add", "origin", "https://x.example/a.git"], cwd=repository, check=True)
    changed = machine.repository(repository)
    assert changed["diff"].splitlines()[-4:] == [
        "-1",
        "\\ No newline at end of file",
        "+2",
        "\\ No newline at end of file",
    ]
    known = {"dirty": True, "changed": ["a"], "diff": changed["diff"], "url": "https://x.example/a.git"}
    assert changed == found | known


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_owner_is_a_note(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    subprocess.run(COMMIT.split(), cwd=repository, check=True)
    os.chown(repository, 12345, 12345)
    with pytest.raises(machine.NotKnown, match="detected dubious ownership in repository"):
        machine.repository(repository)


def test_a_collector_with_a_fault_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> str:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(machine, "cpu", broken)
    assert machine.collected(tmp_path)[0]["notes"]["cpu"] == "RuntimeError: no such thing"

"""What is written down about the machine and the sources: collected within a time limit, and never a reason to stop.

What can't be had, whatever the reason, becomes a note: `host.notes` of the run's document says what is missing and why.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

LIMIT_S = 5.0
_MAX_CHARS, _MAX_BYTES = 200, 2**22
_CPU = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


class NotKnown(Exception):
    """Something can't be had; the message says why, in a few words."""


def collected(sources: Path, limit: float = LIMIT_S) -> tuple[dict[str, Any], dict[str, Any]]:
    """Look at the processor, the GPUs and the repository, all at once.

    Args:
        sources: a folder of the repository.
        limit: seconds that it may take; what isn't known by then is left out.

    Returns:
        Fields of the run's `host` as Sacred names them (`cpu`, `gpus`) with `notes` on what is missing; and what
        `repository` returns, or nothing where there is none.
    """
    known, notes = _within(limit, {"cpu": cpu, "gpus": lambda: gpus(limit), "git": lambda: repository(sources, limit)})
    found = known.pop("git", None) or {}
    host = {name: value for name, value in known.items() if value is not None}
    return ({**host, "notes": notes} if notes else host), found


def cpu() -> str | None:
    """The processor's name, as `/proc/cpuinfo`, `sysctl` or Python have it."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        named = _CPU.search(described.read_text(errors="replace"))
        return named[1].strip() if named else platform.machine() or None
    if platform.system() == "Darwin":
        return said("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string").strip()
    return platform.processor() or platform.machine() or None


def gpus(limit: float = LIMIT_S) -> dict[str, Any] | None:
    """NVIDIA's GPUs in Sacred's form; None where there is no `nvidia-smi`.

    Raises:
        NotKnown: it has failed, or what it said can't be read.
    """
    try:
        text = said("nvidia-smi", "-q", "-x", limit=limit)
    except FileNotFoundError:
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise NotKnown(f"nvidia-smi said {text.strip()[:60]!r}, which is not XML") from None
    return {"driver_version": root.findtext("driver_version"), "gpus": [_gpu(each) for each in root.iter("gpu")]}


def _gpu(described: ElementTree.Element) -> dict[str, Any]:
    """One of them; the memory in MiB is None where the card reports none."""
    totals = [total.text or "" for total in described.iterfind(".//fb_memory_usage/total")]
    sizes = [int(match[1]) for text in totals if (match := re.match(r"\s*(\d+)\b", text))]
    return {
        "model": described.findtext("product_name"),
        "total_memory": sizes[0] if sizes else None,
        "persistence_mode": described.findtext("persistence_mode") == "Enabled",
    }


def repository(folder: Path, limit: float = LIMIT_S) -> dict[str, Any]:
    """The git repository of a folder.

    Returns:
        `url`, `commit`, `dirty`, whether files differ from the commit; `changed`, their names; and `diff`, how they do.

    Raises:
        NotKnown: there is none, or git is missing, refuses, or doesn't answer.
    """

    def git(*words: str) -> str:
        try:
            return said("git", "-C", str(folder), *words, limit=limit).rstrip()
        except FileNotFoundError:
            raise NotKnown("there is no git on the PATH") from None

    commit = git("rev-parse", "--verify", "HEAD")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        raise NotKnown(f"git said {commit[:60]!r}, which is no commit")
    changed = [line[3:] for line in git("status", "--porcelain", "--untracked-files=no").splitlines()]
    try:
        url = git("remote", "get-url", "origin")
    except NotKnown:
        url = f"git:/{git('rev-parse', '--show-toplevel')}"
    diff = ""
    if changed:
        try:
            diff = git("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv") + "\n"
        except NotKnown as error:
            diff = f"not known: {error}"
    return {"url": url, "commit": commit, "dirty": bool(changed), "changed": changed, "diff": diff}


def said(*command: str, limit: float = LIMIT_S) -> str:
    """What a command prints; it and its children are killed when the time is over.

    Raises:
        FileNotFoundError: there is no such command.
        NotKnown: it failed or didn't answer in time.
    """
    asks_nobody = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    process = subprocess.Popen(
        command,
        env=os.environ | asks_nobody,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + limit
    timer = threading.Timer(limit, _kill, [process])
    timer.daemon = True
    timer.start()
    try:
        return _answer(Path(command[0]).name, process, deadline)
    finally:
        timer.cancel()
        if process.returncode is None:
            _kill(process)


def _answer(name: str, process: subprocess.Popen[bytes], deadline: float) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    out = process.stdout.read(_MAX_BYTES + 1)
    if len(out) > _MAX_BYTES:
        raise NotKnown(f"{name} doesn't stop writing")
    told = process.stderr.read(_MAX_BYTES).decode(errors="replace").strip()
    code = process.wait()
    if time.monotonic() >= deadline:
        raise NotKnown(f"{name} didn't answer in time")
    if code:
        raise NotKnown(f"{name} ended with {code}{f': {told.splitlines()[0][:_MAX_CHARS]}' if told else ''}")
    return out.decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End its whole session, where a child may hold the pipes open."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _within(limit: float, calls: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Call all in threads of their own: what they return, and why the others didn't, a second after the limit."""
    known: dict[str, Any] = {}
    notes = dict.fromkeys(calls, f"no answer within {limit:g} s")

    def look(name: str) -> None:
        try:
            known[name] = calls[name]()
            notes.pop(name, None)
        except Exception as error:  # noqa: BLE001 - no fault of a collector's may end a run
            notes[name] = str(error) if isinstance(error, NotKnown) else f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=look, args=(name,), daemon=True) for name in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit + 1.0)
    return dict(known), dict(notes)

"""A folder that keeps a few checkpoints: the last ones and the best."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.files.arrays import DamagedFile, read_arrays, write_arrays
from framework.protocols import Array

BEST, BEST_STUDENT = "best.safetensors", "best_student.safetensors"


class Checkpoints:
    """A folder of checkpoints, `step_<number>.safetensors`: the last few, those of round steps, and the best.

    `best.safetensors` is the best one's file under a second name, `best_student.safetensors` its student's weights.

    Args:
        folder: made when the first one is written.
        keep: how many of the last ones, at least 1.
        keep_every: those whose step is a multiple of it are kept as well; None for none.
        superseded: the folders of the runs that this one continues. Their last ones go when this one has `keep` of its
            own, their best ones when this one has a best: many segments take no more room than one.
    """

    def __init__(
        self, folder: Path, keep: int = 2, keep_every: int | None = None, superseded: Sequence[Path] = ()
    ) -> None:
        self.folder, self.keep, self.keep_every = folder, keep, keep_every
        self.superseded = [Checkpoints(other, keep, keep_every) for other in superseded]

    def save(self, state: Mapping[str, Array], metadata: Mapping[str, Any], best: bool = False) -> Path:
        """Write a trainer's state; its `step` names the file. Returns the path.

        Args:
            state: what `Trainer.state` gave.
            metadata: plain values.
            best: keep it as the best one.

        Raises:
            OSError: it can't be written; what was there before is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{int(state['step']):09d}.safetensors"
        write_arrays(path, state, metadata)
        if best:
            _link(path, self.folder / BEST)
            weights = {name.removeprefix("student/"): a for name, a in state.items() if name.startswith("student/")}
            write_arrays(self.folder / BEST_STUDENT, weights, metadata)
        self._prune()
        return path

    def paths(self) -> list[Path]:
        """The checkpoints that are there by their steps, the newest first."""
        found = self.folder.glob("step_*.safetensors")
        steps = {int(match[1]): path for path in found if (match := re.fullmatch(r"step_(\d+)", path.stem))}
        return [steps[step] for step in sorted(steps, reverse=True)]

    def load(self) -> tuple[dict[str, Array], dict[str, Any], list[str]]:
        """The newest checkpoint that verifies; the best one when none of the others does.

        Returns:
            State, metadata, and a line on each newer one that did not verify.

        Raises:
            FileNotFoundError: there is none that verifies.
        """
        problems: list[str] = []
        best = self.folder / BEST
        for path in [*self.paths(), *([best] if best.is_file() else [])]:
            try:
                state, metadata = read_arrays(path)
                return state, metadata, problems
            except (DamagedFile, OSError) as error:
                problems.append(str(error))
        raise FileNotFoundError(f"no checkpoint in {self.folder} can be read" + "".join(f"; {p}" for p in problems))

    def _prune(self) -> None:
        passing = self._passing()
        expendable = passing[self.keep :]
        if len(passing) >= self.keep:
            expendable += [path for other in self.superseded for path in other._passing()]
        if (self.folder / BEST).exists():
            expendable += [other.folder / name for other in self.superseded for name in (BEST, BEST_STUDENT)]
        # A folder has one writer, and the segments before are dead: what is still temporary was left by a kill.
        for checkpoints in (self, *self.superseded):
            expendable += checkpoints.folder.glob(".*.tmp")
        for path in expendable:
            path.unlink(missing_ok=True)

    def _passing(self) -> list[Path]:
        """Those that are kept only while they are among the last, the newest first."""
        every = self.keep_every
        return [path for path in self.paths() if not every or int(path.stem.removeprefix("step_")) % every]


def _link(path: Path, name: Path) -> None:
    """Give a file a second name, atomically; where the file system has no links, copy it."""
    temporary = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)

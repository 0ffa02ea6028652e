"""What is refused at once: before data are read, a teacher is trained, or a run is written down."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from dataclasses import replace
from pathlib import Path

import backends
from experiments.distillation import packaged
from experiments.distillation.checks import check_early
from experiments.distillation.options import RunOptions
from experiments.tracking.folders import default_root
from framework.data.offline import is_offline
from framework.data.origins import is_hub
from framework.errors import UserError
from framework.files import download
from framework.files.paths import path_of
from framework.spec import DistillSpec


def check(spec: DistillSpec, options: RunOptions) -> None:
    """Refuse files that are not there, unknown names and a device that is not here. It loads the backend.

    Raises:
        UserError: it says what was looked for, and where.
    """
    for key, name in (("data", spec.data.name), ("data.train_from", spec.data.train_from)):
        if name is not None and _is_lacking_data(name):
            raise UserError(f"{key} = {name!r}: {no_such(name)}; give a folder of images, a parquet file or a hub id")
    named = [("student.weights", spec.student.weights), *(("teacher.weights", each.weights) for each in spec.teachers)]
    for key, weights in named:
        if weights is not None and not download.is_url(weights) and not path_of(weights).exists():
            raise UserError(f"{key} = {weights!r}: {no_such(weights)}")
    for teacher in spec.teachers:
        if teacher.name in packaged.PACKAGED:
            packaged.check(teacher.name, default_root())
    check_early(spec, options)
    # With all that a process reads only once, as the run itself will have it.
    backends.load(backends.choose(options.backend)).configure(options.settings(spec))


def elsewhere(options: RunOptions) -> RunOptions:
    """The options as far as this machine can check them for another one, which has other devices."""
    return replace(options, device=None, devices=None)


def no_such(name: str) -> str:
    """That there is no such file or folder, where it was looked for, and what is there with nearly that name."""
    path = path_of(name).absolute()
    folder = path.parent
    there = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.6)
    hint = f"; did you mean {Path(name).with_name(close[0])}?" if close else ""
    missing = "" if folder.is_dir() else f", and no folder {folder}"
    return f"there is no such file or folder (looked for {path}{missing}){hint}"


def add_working_folder() -> None:
    """Let `package.module:function` be found from the working folder, however Python was started."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())


def _is_lacking_data(name: str) -> bool:
    path = path_of(name)
    return not (is_offline(name) or path.exists() or is_hub(name) or glob.glob(str(path)))

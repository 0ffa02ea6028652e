"""Train or fine-tune a teacher on labels, and store it: `python -m experiments.teacher with digits_teacher`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command.launch import Program
from experiments.config import Config
from experiments.distillation.distillation import Distillation
from experiments.recipes import DEFAULT_TEACHER
from framework.errors import UserError
from framework.files.stored import load_card
from framework.protocols import Outcome


def check(config: Config) -> None:
    """Refuse a config that has a teacher: this command makes one."""
    if config["teachers"]:
        raise UserError("this command trains on labels: add teaching=labels; python -m experiments.run distils")


def finish(ready: Distillation, outcome: Outcome, folder: Path) -> Sequence[str]:
    """Say where the teacher is and how it is used."""
    stored = folder / "student"
    sha256 = load_card(stored).sha256
    return [f"stored in {stored}, SHA-256 {sha256[:16]}...: use it as {shlex.quote(f'teacher={stored}')}"]


PROGRAM = Program(
    module="experiments.teacher",
    summary="Train or fine-tune (student.weights=PATH_OR_URL) a model on labels, and store it as a teacher.",
    recipe=DEFAULT_TEACHER,
    examples=(
        "",
        "with digits_teacher backend=torch seed=3",
        "with data=./photos student=bit student.weights=PATH_OR_URL student.dont_load=\"['head/.*']\"",
        "with resume=latest",
        "plan with pet_teacher",
    ),
    check=check,
    finish=finish,
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())

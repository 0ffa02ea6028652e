"""Distil a teacher into a student: `python -m experiments.run with digits backend=jax`; `--help` says the rest."""

from __future__ import annotations

import sys

from experiments.command.launch import Program
from experiments.recipes import DEFAULT

PROGRAM = Program(
    module="experiments.run",
    summary="Distil a large image classifier into a small one, log the run, and say how close the two are.",
    recipe=DEFAULT,
    examples=(
        "",
        "with digits backend=torch seed=3",
        'with glyphs teaching=consistent duration.total_steps=8000 -c "no mixing"',
        "with resume=latest",
        "with teacher=bit teacher.options.depth=152 teacher.options.width=2 teacher.weights=PATH_OR_URL",
        "with student=bit student.weights=PATH_OR_URL student.dont_load=\"['head/.*']\"",
        "print_config with digits",
        "plan with pet_fast",
    ),
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())

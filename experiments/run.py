"""Distil a teacher into a student: `python -m experiments.run with digits backend=jax`; `--help` says the rest."""

from __future__ import annotations

import sys

from experiments.launch import Program
from experiments.recipes import DEFAULT

PROGRAM = Program(
    module="experiments.run",
    summary="Distil a large image classifier into a small one, log the run, and say how close the two are.",
    recipe=DEFAULT,
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())

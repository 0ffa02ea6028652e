"""What do teacher and student see? A contact sheet of some steps: `python -m experiments.views with RECIPE...`.

    python -m experiments.views with digits
    python -m experiments.views with data=./photos views.size=64 teaching=independent --steps 0,1,500 --output pairs.png
    python -m experiments.views latest
    python -m experiments.views with glyphs --compare

It draws a few pairs of each step: the images with the crops that were cut, what each was mixed with and by how much,
and the views of student and teachers. It says whether the two saw the same pixels, and the SHA-256 of each view: of
its float32 numbers in [-1, 1], mixed, and not rounded to grey levels. No teacher is needed, and nothing is trained.

RUN is `latest`, a run's number or uid (the beginning is enough); its sheet goes to `views.png` in its folder.
`--compare` lets each backend render the views, in processes, and compares their SHA-256. They must be equal in float64,
rounded to float32. In float32, as a run computes them, they differ by roundings: that is shown, and held to 1e-5.

Exit codes: 0 done, 1 views are not what the teaching promises or differ between backends (or a fault), 2 a mistake in
the command, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backends
from backends.base import Backend
from experiments import config as configs
from experiments.command.exit import DONE, FAULT, Parser, guarded
from experiments.db import add_address
from experiments.distillation import early
from experiments.distillation.checks import check_early
from experiments.distillation.distillation import tell
from experiments.distillation.lineage import folder_of
from experiments.distillation.options import RunOptions
from experiments.distillation.prepare import load_data
from experiments.parity.__main__ import chosen_backends
from experiments.tracking.folders import default_root, found_root
from framework.errors import UserError
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from experiments.sheets.seen import Step
    from framework.protocols import Source

NAME = "experiments.views"
FILE = "views.png"
STEPS = (0, 1, 100)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    usage = f"python -m {NAME} [RUN | with RECIPE... KEY=VALUE...] [options]"
    parser = Parser.described(NAME, __doc__, usage)
    add = parser.add_argument
    add("words", nargs="*", metavar="RUN | with RECIPE... KEY=VALUE...", help="a run, or what a run would be given")
    add("--steps", metavar="N,N,...", help="updates done before what is shown (0,1,100)")
    add("--examples", type=int, default=4, metavar="N", help="pairs of each step (4)")
    add("--output", type=Path, metavar="FILE", help=f"a .png, .svg or .pdf file ({FILE}, a run's in its folder)")
    add("--compare", action="store_true", help="compare the views on the backends that are installed; draws nothing")
    add("--backends", metavar="A,B", help="the backends to compare, the first one with the others")
    add("--jobs", type=int, default=2, metavar="N", help="processes at a time (2)")
    add("--json", action="store_true", help="print all SHA-256 as JSON")
    add_address(parser)
    return parser.parse_intermixed_args(arguments)


def wanted(found: argparse.Namespace) -> tuple[DistillSpec, RunOptions, Path]:
    """The distillation that is meant, and where its sheet goes.

    Raises:
        UserError: no such run, an unknown key or recipe, a value out of range.
    """
    first, *rest = found.words or ["with"]
    if first == "with":
        spec, options = configs.spec_and_options(configs.read(rest)[0])
        return spec, options, found.output or Path(FILE)
    if rest:
        raise UserError(f"unexpected {rest[0]!r}: give one run, or write 'with' before recipes and KEY=VALUE")
    if "=" in first or first in configs.RECIPES:
        raise UserError(f"unexpected {first!r}: write 'with' before recipes and KEY=VALUE")
    spec, folder = _of_run(first, found)
    return spec, RunOptions(), found.output or folder / FILE


def _of_run(name: str, found: argparse.Namespace) -> tuple[DistillSpec, Path]:
    """The spec and the folder of a run that has begun."""
    from experiments.tracking import queries, readers

    root = Path(found.dir or found_root()).absolute()
    with readers.opened(found.uri, False, root) as runs:
        document = queries.find_run(runs, name)
    folder = folder_of(document, root)
    if not folder.is_dir() and found.output is None:
        raise UserError(f"run {name}: its folder {folder} is not on this machine; --output says where the sheet goes")
    if not document.get("spec"):
        raise UserError(f"run {name} ended before it had looked at its data")
    return DistillSpec.from_dict(document["spec"]), folder


def named_steps(text: str | None) -> list[int] | None:
    """The steps that are written; None where none are.

    Raises:
        UserError: no whole number.
    """
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--steps {text!r}: expected whole numbers, --steps 0,1,100")
    return list(dict.fromkeys(map(int, words))) or None


def chosen_steps(named: Sequence[int] | None, total_steps: int) -> list[int]:
    """The steps to be shown: those that are named, or of the usual ones those that the run has.

    Raises:
        UserError: a step that the run doesn't have.
    """
    steps = [step for step in STEPS if step < total_steps] if named is None else list(named)
    if max(steps) >= total_steps:
        raise UserError(f"--steps {max(steps)}: must be 0 to {total_steps - 1}: the run has {total_steps} steps")
    return steps


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    for name in ("examples", "jobs"):
        if getattr(found, name) < 1:
            raise UserError(f"--{name} {getattr(found, name)}: must be 1 or more")
    early.add_working_folder()
    named, (spec, options, output) = named_steps(found.steps), wanted(found)
    names = chosen_backends(found.backends) if found.compare else []
    check_early(spec, options)
    root = Path(found.dir or default_root()).absolute()
    source = load_data(spec, root, tell).train
    steps = chosen_steps(named, spec.duration.steps(source.num_examples, spec.batch_size))
    if found.compare:
        return _compare(spec, names, steps, root, found)
    # Why in float64 is said in `experiments.sheets.seen`.
    backend = backends.load(backends.choose(options.backend))
    backend.configure(replace(options.settings(spec), device="cpu", precision="float64"))
    return _draw(spec.replace(precision="float64"), backend, source, steps, output, found)


def _draw(
    spec: DistillSpec, backend: Backend, source: Source, steps: Sequence[int], output: Path, found: argparse.Namespace
) -> int:
    # These import Keras, which needs the backend to be loaded.
    from experiments.sheets.drawing import Sheet, draw
    from experiments.sheets.seen import look, verdict

    seen = list(look(spec, source, backend, steps))
    draw(Sheet(spec, source, seen, min(found.examples, spec.batch_size)), output)
    print(output if not found.json else json.dumps([_values(step) for step in seen], indent=1))
    judged = [verdict(spec, step) for step in seen]
    for step, (_, told) in zip(seen, judged, strict=True):
        if not found.json:
            print(f"step {step.number}: {told}; mixing factor {step.draws.mix:.4f}, draws {step.draws_hash}")
    return DONE if all(fine for fine, _ in judged) else FAULT


def _values(step: Step) -> dict[str, Any]:
    """A step as plain values, with the SHA-256 of all its views."""
    student, *others = step.digests()
    ids, epochs = step.ids.tolist(), step.epochs.tolist()
    return {
        "step": step.number,
        "draws": step.draws_hash,
        "mix": step.draws.mix,
        "examples": [
            {"id": number, "epoch": epochs[place], "student": student[place], "teachers": [e[place] for e in others]}
            for place, number in enumerate(ids)
        ],
    }


def _compare(
    spec: DistillSpec, names: Sequence[str], steps: Sequence[int], root: Path, found: argparse.Namespace
) -> int:
    from experiments.sheets import compare

    results = compare.gather(spec, names, steps, root / "cache", found.jobs)
    held = compare.compared(results, names)
    if found.json:
        print(json.dumps([vars(each) | {"ok": each.ok} for each in held], indent=1))
    else:
        print(compare.table(held, results, names), end="\n\n")
        failed = [f"step {each.step}, {each.who} ({each.backend}, {each.precision})" for each in held if not each.ok]
        print(f"views differ: {'; '.join(failed)}" if failed else f"the same views: {', '.join(names)}")
    return DONE if all(each.ok for each in held) else FAULT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    found = parse(arguments)
    return guarded(NAME, lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

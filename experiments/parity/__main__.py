"""One spec on every installed backend, compared: `python -m experiments.parity [with key=value ...]`.

Each backend runs in a process of its own, from the same weights (drawn by parameter name) over the same views, in
float32 and float64; a table shows how far they are apart. By default a small net learns from another one on digits.
All nets have random weights, a recipe's teachers too: arithmetic is compared, which needs no training.

    python -m experiments.parity
    python -m experiments.parity with teaching=independent optimizer.clip_norm=None
    python -m experiments.parity with "student.options={'widths': [16, 32]}" --backends jax,torch --steps 20

Exit codes: 0 within tolerance, 1 out of it (or a fault), 2 a mistake in the command, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import backends
from experiments.command.exit import DONE, FAULT, Parser, add_debug, guarded
from experiments.parity.measure import load_examples
from experiments.parity.processes import Bar, Job, run
from experiments.parity.report import Results, all_checks, document, table
from experiments.parity.settings import ALWAYS, SMALL, replaced_teachers, spec_of
from framework.errors import UserError, near
from framework.spec import DistillSpec

PRECISIONS = ("float32", "float64")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what follows `with` are updates, up to the next option."""
    usage = "python -m experiments.parity [with key=value ...] [options]"
    assert __doc__ is not None
    description, _, codes = __doc__.partition("\n\nExit codes")
    parser = Parser(
        prog="python -m experiments.parity",
        usage=usage,
        description=description,
        epilog="The spec unless told otherwise:\n  " + "\n  ".join((*SMALL, *ALWAYS)) + f"\n\nExit codes{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("updates", nargs="*", metavar="with key=value ...", help="a recipe, and changes of the spec")
    parser.add_argument(
        "--backends", metavar="A,B", help="the first one is what the others are compared with (default: all installed)"
    )
    parser.add_argument("--precisions", metavar="A,B", default=",".join(PRECISIONS), help="default: float32,float64")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="updates (default: 50)")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default), gpu, tpu, gpu:1")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time (default: 2)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write all results to FILE as well ('-' prints them instead of the table)",
    )
    add_debug(parser)
    return parser.parse_intermixed_args(arguments)


def chosen(text: str | None, allowed: Sequence[str], option: str) -> list[str]:
    """The names in a comma-separated list, checked.

    Raises:
        UserError: a name is unknown or given twice.
    """
    names = [name.strip() for name in text.split(",")] if text else list(allowed)
    for name in names:
        if name not in allowed:
            raise UserError(f"{option} {name!r}: {near(name, allowed)}")
        if names.count(name) > 1:
            raise UserError(f"{option}: {name!r} is given twice")
    return names


def chosen_backends(text: str | None) -> list[str]:
    """The backends to compare, at least two and all installed."""
    names = [backends.choose(name) for name in chosen(text, tuple(backends.BACKENDS), "--backends")] if text else []
    names = names or list(backends.installed())
    if len(names) < 2:
        raise UserError(f"parity compares at least two backends; installed: {', '.join(names) or 'none'}")
    return names


def chosen_spec(options: argparse.Namespace) -> DistillSpec:
    """The spec of the updates, and the counts checked.

    Raises:
        UserError: something given can't be.
    """
    first, *updates = options.updates or ["with"]
    if first != "with":
        raise UserError(f"unexpected {first!r}: write 'with' before KEY=VALUE and recipes, with optimizer.lr=0.01")
    for name in ("steps", "jobs"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: must be 1 or more")
    return spec_of(updates)


@dataclass(frozen=True)
class Comparison:
    """What was run: each backend in each precision, the first backend being the base."""

    spec: DistillSpec
    backends: Sequence[str]
    precisions: Sequence[str]
    results: Results


def gather(options: argparse.Namespace) -> Comparison:
    """Run every backend in every precision.

    Raises:
        UserError: something given can't be.
        WorkerFault: a backend failed.
    """
    spec, names = chosen_spec(options), chosen_backends(options.backends)
    note = replaced_teachers(options.updates, spec)
    if note:
        print(note, file=sys.stderr, flush=True)
    precisions = chosen(options.precisions, PRECISIONS, "--precisions")
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        cache = Path(folder) / "cache"
        settings = {"spec": spec.to_dict(), "device": options.device, "steps": options.steps, "cache": str(cache)}
        made = [
            Job(name, precision, settings, Path(folder) / f"{name}-{precision}")
            for precision in precisions
            for name in names
        ]
        # A mistake in the data is found before anything is started, and the workers find them decoded.
        load_examples(spec.data, cache)
        with Bar(len(made) * options.steps) as bar:
            return Comparison(spec, names, precisions, run(made, options.jobs, bar.watch))


def show(comparison: Comparison, path: Path | None) -> int:
    """Print the tables, or JSON alone where the path is `-`; the exit code."""
    results, names = comparison.results, comparison.backends
    checks = all_checks(results, comparison.spec, names, comparison.precisions)
    whole = document(results, checks, comparison.spec)
    code = DONE if whole["ok"] else FAULT
    if path == Path("-"):
        print(json.dumps(whole, indent=1))
        return code
    if path:
        path.write_text(json.dumps(whole, indent=1))
    for precision in comparison.precisions:
        print(table(results, checks, names, precision), end="\n\n")
    failed = [f"{check.quantity} ({name}, {p})" for (name, p), each in checks.items() for check in each if not check.ok]
    print(f"out of tolerance: {'; '.join(failed)}" if failed else f"parity holds: {', '.join(names)}")
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parse(arguments)
    return guarded("experiments.parity", lambda: show(gather(options), options.json), options.debug)


if __name__ == "__main__":
    sys.exit(main())

"""Our step against what people would use instead: `python -m experiments.bench [steps] [million] [start] [loaders]`.

    python -m experiments.bench                                  # all of it, on every installed backend
    python -m experiments.bench steps --backends torch --sizes digits --rounds 9
    python -m experiments.bench steps --against before.json      # what a change did to each median
    python -m experiments.bench --quick                          # tiny nets: does it run?

`steps` times, in interleaved rounds in one process for each backend and size: trainer (with its loop, loader, journal
and metrics), step (the same, bare), native (by hand in that library alone: `benchmarks/`), distiller
(`keras.distillation.Distiller.fit`), supervised (the student alone, on labels) and, on PyTorch where timm is installed,
timm and timm-compiled (its BiT nets). `million` is the time of a million steps of `digits`, from some thousand.
`start` takes the time to the first step, with an empty and with a filled cache of compiled programs, and the most
memory. `loaders` counts images per second, ours and those of torch's DataLoader, tf.data and grain, on the same files.

Exit codes: 0 done, 1 a fault, 2 a mistake in the command, 130 Ctrl-C, which shows what was measured by then.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import backends
from experiments.bench import loaders, processes, report
from experiments.bench.sizes import SIZES
from experiments.bench.variants import VARIANTS
from experiments.command.exit import DONE, Parser, add_debug, guarded
from experiments.parity.__main__ import chosen
from framework.errors import UserError

PARTS = ("steps", "million", "start", "loaders")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m experiments.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = "; ".join(f"{name}: {size.title}" for name, size in SIZES.items())
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--backends", metavar="A,B", help="which to measure (default: all installed)")
    parser.add_argument("--sizes", metavar="A,B", help=f"which to measure (default: all). {sizes}")
    parser.add_argument("--variants", metavar="A,B", help=f"which of {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--peers", metavar="A,B", help=f"which loaders of {', '.join(loaders.PEERS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="timings of each variant (default: 5)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps in one timing (default: the size's own)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of the library (default: 1)")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default), gpu, tpu, gpu:1")
    parser.add_argument(
        "--precision", choices=("float32", "mixed_bfloat16"), default="float32", help="of the nets (default: float32)"
    )
    parser.add_argument(
        "--peak", type=float, metavar="TFLOPS", help="of the device (default: what a large matrix product reaches)"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="examples a step (default: the size's own)")
    parser.add_argument("--compile", action="store_true", help="torch.compile, or XLA under TensorFlow, for ours")
    parser.add_argument("--clock", choices=("cpu", "wall"), help="whose ratios (default: cpu on a CPU, else wall)")
    parser.add_argument("--quick", action="store_true", help="tiny nets and few steps: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the steps' images per second")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with an earlier run's --json")
    add_debug(parser)
    return parser.parse_args(arguments)


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """The options with lists of names in place of words.

    Raises:
        UserError: something given can't be.
    """
    for name in ("rounds", "threads", "steps", "batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: must be 1 or more")
    if options.peak is not None and options.peak <= 0:
        raise UserError(f"--peak {options.peak}: must be more than 0")
    options.parts = chosen(",".join(options.parts), PARTS, "part")
    named = chosen(options.backends, tuple(backends.BACKENDS), "--backends") if options.backends else []
    options.backends = [backends.choose(name) for name in named] or list(backends.installed())
    on_cpu = options.device.startswith("cpu")
    possible = [name for name, size in SIZES.items() if not (on_cpu and size.accelerator)]
    options.sizes = chosen(options.sizes, tuple(SIZES), "--sizes") if options.sizes else possible
    # Keras's Distiller is measured as people use it: in float32.
    possible = [name for name in VARIANTS if options.precision == "float32" or name != "distiller"]
    options.variants = chosen(options.variants, tuple(possible), "--variants")
    options.peers = chosen(options.peers, tuple(loaders.PEERS), "--peers")
    options.clock = options.clock or ("cpu" if on_cpu else "wall")
    options.against = read(options.against) if options.against else None
    return options


def read(path: Path) -> dict[str, Any]:
    """An earlier run's JSON.

    Raises:
        UserError: there is none.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--against {path}: {error}") from None


def jobs(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All measurements, in their order."""
    names = ("device", "threads", "quick", "precision", "rounds", "steps", "batch")
    common = {name: getattr(options, name) for name in names}
    common |= {"compile": options.compile or None, "folder": str(folder)}
    works = [{"backend": name, "size": size} for size in options.sizes for name in options.backends]
    made: list[dict[str, Any]] = []
    if "steps" in options.parts:
        made += [
            {"kind": "steps", **work, "variants": options.variants, "cache": str(folder / "cache")} for work in works
        ]
    if "million" in options.parts and "digits" in options.sizes:
        made += [{"kind": "million", "backend": name, "size": "digits"} for name in options.backends]
    if "start" in options.parts:
        made += [{"kind": "start", **work, **how} for work in works for how in starts(options.variants, folder, work)]
    if "loaders" in options.parts:
        made += [{"kind": "loaders", "peer": peer, "mode": mode} for mode in loaders.MODES for peer in options.peers]
    return [{**common, **job} for job in made]


def starts(variants: Sequence[str], folder: Path, work: dict[str, str]) -> list[dict[str, Any]]:
    """The starts of one backend and size: ours without and with a filled cache, and the hand-written step's."""
    cache = str(folder / f"cold-{work['backend']}-{work['size']}")
    made = []
    if "step" in variants:
        made += [{"variant": "step", "cache": cache, "warm": warm} for warm in (False, True)]
    if "native" in variants:
        made += [{"variant": "weights"}, {"variant": "native", "warm": False}]
    return made


def gather(options: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Run every measurement, one after the other; the jobs with their results are added to `results`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = jobs(options, Path(folder))
        for number, job in enumerate(made, start=1):
            words = [job.get(key) for key in ("kind", "backend", "size", "variant", "peer", "mode")]
            tell = partial(_tell, f"[{number}/{len(made)}] {' '.join(filter(None, words))}")
            result = processes.run(job, tell)
            if job.get("variant") != "weights":
                results.append({**job, "result": result})


def _tell(place: str, line: str) -> None:
    print(f"{place}: {line}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Measure what the options ask for, and tell it, also where Ctrl-C ends it early; returns the exit code."""
    checked(options)
    found: dict[str, Any] = {"command": sys.argv[1:], "machine": report.machine(), "jobs": []}
    found |= {"clock": options.clock, "peak": options.peak}
    try:
        gather(options, found["jobs"])
    finally:
        if found["jobs"]:
            tell(options, found)
    return DONE


def tell(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print, write and draw what was measured."""
    print(report.tables(found, options.against))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.plot:
        report.plot(found, options.plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parse(arguments)
    return guarded("experiments.bench", lambda: run(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())

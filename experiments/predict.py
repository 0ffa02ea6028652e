"""What is in these images? A stored student answers: `python -m experiments.predict RUN IMAGE...`.

    python -m experiments.predict latest photo.jpg holiday/ 'more/*.png' --top 3
    python -m experiments.predict best holiday/ --csv > answers.csv
    ls | python -m experiments.predict ./my_student -

RUN is `latest`, `best` (by validation accuracy), a run's number or uid (the beginning is enough), or the folder of a
run or of a stored model. IMAGE is a file, a folder (with its subfolders), a pattern, or - for a list on stdin.

Exit codes: 0 done, 1 some images could not be read (the others are answered), 2 a mistake in the command, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.command.exit import DONE, FAULT, Parser, guarded, say
from experiments.db import add_address
from experiments.tracking.journal import default_root
from framework.errors import UserError

if TYPE_CHECKING:
    from experiments.distillation.student import Student
    from framework.protocols import Array

NAME = "experiments.predict"
BATCH = 64
Answer = tuple[Path, "Array | str"]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    title, _, text = (__doc__ or "").partition("\n\n")
    parser = Parser(
        prog=f"python -m {NAME}",
        description=title,
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="latest, best, a number, a uid or a folder")
    add("images", nargs="+", metavar="IMAGE", help="files, folders, patterns, or - for a list on stdin")
    add("--top", type=int, default=1, metavar="K", help="the K most probable classes (1)")
    add("--backend", metavar="NAME", help="jax, torch or tensorflow (the first that is installed)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object a line")
    form.add_argument("--csv", action="store_true", help="print CSV: path, class, probability, and so on")
    add_address(parser)
    return parser.parse_args(arguments)


def listed(words: Sequence[str]) -> list[Path]:
    """The image files that are meant, each once, in the order of the words.

    Raises:
        UserError: a word that names nothing.
    """
    found: list[Path] = []
    for word in words:
        names = sys.stdin.read().splitlines() if word == "-" else [word]
        found += [path for name in names if name.strip() for path in _meant(name.strip())]
    return list(dict.fromkeys(found))


def _meant(name: str) -> list[Path]:
    from PIL import Image

    path = Path(name).expanduser()
    if path.is_dir():
        known = Image.registered_extensions()
        files = sorted(each for each in path.rglob("*") if each.suffix.lower() in known and each.is_file())
        if not files:
            raise UserError(f"{name}: there is no image in that folder")
        return files
    if path.is_file():
        return [path]
    matches = sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())
    if not matches:
        raise UserError(f"{name}: there is no such file or folder in {Path.cwd()}, and no file matches it")
    return matches


def answers(student: Student, paths: Sequence[Path]) -> Iterator[Answer]:
    """Each image with the probabilities of its classes, [C], or with the reason why it can't be read."""
    from framework.data.bad import num_threads
    from framework.data.bar import image_bar
    from framework.data.loader import ahead

    with ThreadPoolExecutor(num_threads()) as pool, image_bar(len(paths), "predicting") as bar:

        def read(start: int) -> list[Answer]:
            return list(pool.map(lambda path: _read(student, path), paths[start : start + BATCH]))

        for batch in ahead(read, range(0, len(paths), BATCH)):
            yield from _answered(student, batch, min(BATCH, len(paths)))
            bar.update(len(batch))


def _read(student: Student, path: Path) -> Answer:
    from framework.data.decode import BadImage

    try:
        return path, student.view(path)
    except BadImage as error:
        return path, str(error)


def _answered(student: Student, batch: Sequence[Answer], size: int) -> Iterator[Answer]:
    import numpy as np

    views = [view for _, view in batch if not isinstance(view, str)]
    # Batches of one size: an engine compiles once.
    padded = views + views[:1] * (size - len(views))
    found = iter(student.probabilities(np.array(padded)) if views else ())
    for path, view in batch:
        yield path, view if isinstance(view, str) else next(found)


def row(student: Student, path: Path, shares: Array, top: int) -> dict[str, Any]:
    """The most probable classes of one image, as plain values."""
    first = shares.argsort(kind="stable")[::-1][:top]
    classes = [{"class": student.classes[place], "probability": round(float(shares[place]), 6)} for place in first]
    return {"path": str(path), "classes": classes}


def printed(answer: dict[str, Any], found: argparse.Namespace) -> str:
    """One line of the form that is asked for."""
    if found.json:
        return json.dumps(answer)
    if found.csv:
        values = [answer["path"], *(value for each in answer["classes"] for value in each.values())]
        return ",".join(_quoted(str(value)) for value in values)
    return f"{answer['path']}: " + ", ".join(f"{each['class']} {each['probability']:.1%}" for each in answer["classes"])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    from experiments.distillation.student import find_student, load_student

    if found.top < 1:
        raise UserError(f"--top {found.top}: expected 1 or more")
    paths = listed(found.images)
    root = (found.dir or default_root()).absolute()
    student = load_student(find_student(found.run, root, found.uri), found.backend)
    if found.csv:
        print(",".join(["path", *(f"{name}{place}" for place in range(1, found.top + 1) for name in ("class", "p"))]))
    bad = 0
    for path, shares in answers(student, paths):
        if isinstance(shares, str):
            bad += 1
            say(NAME, f"{path}: {shares}")
        else:
            print(printed(row(student, path, shares, found.top), found))
    if bad:
        say(NAME, f"{bad} of {len(paths)} images could not be read")
    return FAULT if bad else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    found = parse(arguments)
    return guarded(NAME, lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

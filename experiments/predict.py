"""What is in these images? A stored student answers: `python -m experiments.predict RUN IMAGE...`.

    python -m experiments.predict latest photo.jpg holiday/ 'more/*.png' --top 3
    python -m experiments.predict best holiday/ --csv > answers.csv
    ls | python -m experiments.predict ./my_student -
    python -m experiments.predict latest holiday/ --teacher
    python -m experiments.predict exported/student.onnx photo.jpg

RUN is `latest`, `best` (by validation accuracy), a run's number or uid (the beginning is enough), the folder of a run
or of a stored model, or an .onnx file of experiments.export, which needs no backend. IMAGE is a file, a folder (its
subfolders are searched too), a pattern, or - for a list on stdin. --teacher prints the answer of the run's teacher
beside the student's; a line where their first classes differ ends in "disagree".

Exit codes: 0 done, 1 some images could not be read (the others are answered), 2 a mistake in the command, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.command.exit import DONE, FAULT, Parser, guarded, say
from experiments.db import add_address
from experiments.tracking.folders import default_root
from framework.errors import UserError
from framework.files.paths import path_of

if TYPE_CHECKING:
    from experiments.distillation.answering import Answering
    from framework.protocols import Array

NAME = "experiments.predict"
BATCH = 64
# An image with what is made of it for each model, or with the reason why it can't be read.
Read = tuple[Path, "list[Array] | str"]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser.described(NAME, __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="latest, best, a number, a uid, a folder or an .onnx file")
    add("images", nargs="+", metavar="IMAGE", help="files, folders, patterns, or - for a list on stdin")
    add("--teacher", action="store_true", help="the teacher's answer beside the student's, and where they disagree")
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

    path = path_of(name)
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


def answers(models: Sequence[Answering], paths: Sequence[Path]) -> Iterator[Read]:
    """Each image with the probabilities that each model gives its classes, [C], or the reason why it can't be read."""
    from framework.data.bar import image_bar
    from framework.data.loader import ahead
    from framework.data.threads import spread

    def read(start: int) -> list[Read]:
        batch = paths[start : start + BATCH]
        return spread(lambda place: _read(models, batch[place]), len(batch))

    with image_bar(len(paths), "predicting") as bar:
        for batch in ahead(read, range(0, len(paths), BATCH)):
            yield from _answered(models, batch, min(BATCH, len(paths)))
            bar.update(len(batch))


def _read(models: Sequence[Answering], path: Path) -> Read:
    from experiments.distillation.answering import pixels
    from framework.data.decode import BadImage

    try:
        image = pixels(path)
    except BadImage as error:
        return path, str(error)
    return path, [model.read(image) for model in models]


def _answered(models: Sequence[Answering], batch: Sequence[Read], size: int) -> Iterator[Read]:
    from experiments.distillation.answering import probabilities

    read = zip(*(images for _, images in batch if not isinstance(images, str)), strict=True)
    # Where no image can be read, there is nothing to ask.
    found = [probabilities(model.answer(own, size)) for model, own in zip(models, read, strict=False)]
    shares = zip(*found, strict=True)
    for path, images in batch:
        yield path, images if isinstance(images, str) else list(next(shares))


def row(student: Answering, path: Path, shares: Sequence[Array], top: int) -> dict[str, Any]:
    """The most probable classes of one image, as plain values; by the student, and by its teachers on the average."""
    own, *others = shares
    answer: dict[str, Any] = {"path": str(path), "classes": _first(student, own, top)}
    if others:
        answer["teacher"] = _first(student, sum(others[1:], others[0]) / len(others), top)
        answer["agree"] = answer["teacher"][0]["class"] == answer["classes"][0]["class"]
    return answer


def _first(student: Answering, shares: Array, top: int) -> list[dict[str, Any]]:
    first = shares.argsort(kind="stable")[::-1][:top]
    return [{"class": student.classes[place], "probability": round(float(shares[place]), 6)} for place in first]


def printed(answer: dict[str, Any], found: argparse.Namespace) -> str:
    """One line of the form that is asked for."""
    if found.json:
        return json.dumps(answer)
    both = [answer[who] for who in ("classes", "teacher") if who in answer]
    if found.csv:
        values = [answer["path"], *(value for classes in both for each in classes for value in each.values())]
        values += [answer["agree"]] if "agree" in answer else []
        return ",".join(_quoted(str(value)) for value in values)
    told = [", ".join(f"{each['class']} {each['probability']:.1%}" for each in classes) for classes in both]
    mark = "" if answer.get("agree", True) else " | disagree"
    return f"{answer['path']}: " + " | teacher: ".join(told) + mark


def _head(found: argparse.Namespace) -> str:
    """CSV's first line."""
    numbered = [f"{name}{place}" for place in range(1, found.top + 1) for name in ("class", "p")]
    teachers = [*(f"teacher_{name}" for name in numbered), "agree"] if found.teacher else []
    return ",".join(["path", *numbered, *teachers])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    from experiments.distillation.beside import teachers_of
    from experiments.distillation.student import find_student, load_student

    if found.top < 1:
        raise UserError(f"--top {found.top}: expected 1 or more")
    paths = listed(found.images)
    root = (found.dir or default_root()).absolute()
    place = find_student(found.run, root, found.uri)
    student = load_student(place, found.backend)
    models = [student, *(teachers_of(place, student, root) if found.teacher else ())]
    found.top = min(found.top, len(student.classes))
    bad, agreed = _print_all(models, paths, found)
    if found.teacher:
        say(NAME, f"student and teacher agree on {agreed} of {len(paths) - bad} images")
    if bad:
        say(NAME, f"{bad} of {len(paths)} images could not be read")
    return FAULT if bad else DONE


def _print_all(models: Sequence[Answering], paths: Sequence[Path], found: argparse.Namespace) -> tuple[int, int]:
    """Print the answers; of how many images there is none, and for how many student and teacher agree."""
    if found.csv:
        print(_head(found))
    bad = agreed = 0
    for path, shares in answers(models, paths):
        if isinstance(shares, str):
            bad += 1
            say(NAME, f"{path}: {shares}")
        else:
            answer = row(models[0], path, shares, found.top)
            agreed += answer.get("agree", False)
            print(printed(answer, found))
    return bad, agreed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    found = parse(arguments)
    return guarded(NAME, lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

"""From a stored student to a checked file with its model card: all of it, or nothing."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import backends
from backends.base import Settings
from experiments.distillation.student import on_backend
from experiments.exporting import card, checking, quantizing, subject
from experiments.exporting.formats import FORMATS, Format, check_libraries, chosen
from framework.errors import UserError
from framework.files import stored
from framework.files.paths import path_of

DEFAULT = Path("exported") / "student"


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        how: the format.
        output: the file.
        data: what to check it on instead of the run's data, by name.
        backend: on which the student is loaded; None takes the first that is installed.
        quantize: the whole numbers to round to, `int8`; None rounds nothing.
    """

    how: Format
    output: Path
    data: str | None
    backend: str | None
    quantize: str | None

    @classmethod
    def from_words(cls, found: argparse.Namespace) -> Wanted:
        """From a parsed command line.

        Raises:
            UserError: its values can't be done here, or not together.
        """
        name, backend = chosen(found.format, found.output), found.backend
        how = FORMATS[name]
        if found.views and how.takes != "images":
            raise UserError(f"--views: a file of the format {name} takes views already: only onnx has the choice")
        if found.quantize and name != "onnx":
            raise UserError(f"--quantize {found.quantize}: allowed with --format onnx, not with {name}")
        check_libraries(name)
        if how.backend and backend and backends.canonical(backend) != how.backend:
            raise UserError(f"--format {name} is written on {how.backend}, not on {backend}: leave --backend out")
        output = path_of(found.output or DEFAULT.with_suffix(how.suffix))
        _check_place(output, how)
        card.check(output.parent)
        how = how.of_views() if found.views else how
        return cls(how, output, found.data, how.backend or backend, found.quantize)


def _check_place(output: Path, how: Format) -> None:
    """Refuse to write over what is none of ours, and where nothing can be written."""
    place = output.absolute().parent
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"--output {output}: nothing can be written to {there}")
    if output.is_dir() and not how.is_folder:
        raise UserError(f"--output {output} is a folder: expected a file, such as {output / 'student'}{how.suffix}")
    if how.is_folder and output.exists() and not (output / "saved_model.pb").is_file():
        raise UserError(f"--output {output} exists and is no {how.suffix[1:]} folder: give another name, or remove it")


def export(folder: Path, wanted: Wanted, root: Path, tell: Callable[[str], None]) -> list[str]:
    """Write a student's file and its model card.

    Args:
        folder: of the stored student.
        wanted: what is asked for.
        root: the folder of runs, and of caches.
        tell: takes one-line remarks.

    Returns:
        Lines on what was written and how it was checked.

    Raises:
        UserError: the student can't be exported so.
        NotTheSame: the file doesn't give what the student gives; nothing is kept then, as for any other error.
    """
    if not stored.is_stored(folder):
        raise UserError(f"{folder} is exported already: expected a run, or the folder of a stored model")
    # With all digits, and on the same arithmetic for everybody.
    backends.load(backends.choose(wanted.backend)).configure(Settings("cpu"))
    student = on_backend(folder, wanted.backend)
    if student.card.normalize:
        raise UserError(f"{folder} expects another input range, {student.card.normalize}, which is not exported")
    what = subject.find(student, folder, wanted.data, root)
    tell(f"checked on {what.images_from}{what.why and f' ({what.why})'}")
    with _kept_if_done(wanted.output.parent) as temporary:
        files = wanted.how.write(what, temporary / wanted.output.name)
        checked = _checked(what, wanted.how, files[0])
        if wanted.quantize:
            tell("calibrating")
            checked = f"Before rounding: {checked} {quantizing.quantize(what, files[0])}"
        text = card.text(what, files, wanted.how, checked, wanted.output.parent)
        (temporary / card.NAME).write_text(text, encoding="utf-8")
        for path in (*files, temporary / card.NAME):
            _moved(path, wanted.output.parent)
    names = " and ".join(path.name for path in files)
    return [f"{names} in {wanted.output.parent.absolute()}: {checked}", f"{wanted.output.parent / card.NAME}: its card"]


def _checked(what: subject.Subject, how: Format, path: Path) -> str:
    difference, count = checking.check(what, how, path)
    return (
        f"It was loaded again with {' and '.join(how.needed)} alone: on {count} images ({what.images_from}) "
        f"its logits are the student's within {difference:.1g}, and each first class is the same."
    )


@contextmanager
def _kept_if_done(folder: Path) -> Iterator[Path]:
    """A folder for what is being written, beside its place; it goes away however this ends."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    except OSError as error:
        raise UserError(f"--output: nothing can be written to {folder.absolute()}: {error.strerror}") from None
    # As Ctrl-C, so that what was begun is removed.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield temporary
    finally:
        signal.signal(signal.SIGTERM, before)
        shutil.rmtree(temporary, ignore_errors=True)
        for each in new:
            # Those with something in them stay.
            with suppress(OSError):
                each.rmdir()


def _moved(path: Path, folder: Path) -> None:
    """Put a file, or a folder's files, in their place for good; what is there already goes away."""
    for each in [path, *path.rglob("*")]:
        if each.is_file():
            with each.open("rb") as file:
                os.fsync(file.fileno())
    place = folder / path.name
    if place.is_dir():
        place.replace(path.with_name(".before"))
    path.replace(place)

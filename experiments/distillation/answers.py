"""What is kept of the answers to the test images: accuracy by class, and where student and teacher differ most."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.source import Splits
from framework.protocols import Array, Source

FILE = "answers.json"
# So many images are kept, none with a longer side than this.
NUM_IMAGES = 16
LONGEST = 96
# Images of at most so many pixels a side are kept as they are.
_SMALL = 32


def split_of(splits: Splits) -> str | None:
    """The split whose answers are kept: the test, or else the validation split."""
    return "test" if splits.test is not None else "validation" if splits.validation is not None else None


def write(path: Path, split: str, splits: Splits, answers: Mapping[str, Array]) -> Path:
    """Write the answers to the split `"test"` or `"validation"`, as `Evaluator.answers` gives them; returns the file.

    Raises:
        OSError: the file can't be written.
        UserError: an image can't be read any more.
    """
    source: Source = getattr(splits, split)
    chosen = most_different(answers)[:NUM_IMAGES]
    pixels = source.images(answers["ids"][chosen]) if len(chosen) else ()
    images = [_told(answers, place, image) for place, image in zip(chosen, pixels, strict=True)]
    kept = {
        "format": 1,
        "data": splits.name,
        "split": split,
        "examples": len(answers["ids"]),
        "classes": splits.classes,
        "by": "label" if (answers["labels"] >= 0).any() else "teacher",
        "by_class": by_class(answers),
        "images": images,
    }
    path.write_text(json.dumps(kept), encoding="utf-8")
    return path


def by_class(answers: Mapping[str, Array]) -> list[list[int]]:
    """For each class that there is an example of: class, examples, and how many the student and the teacher get right.

    The class is the label's; where nothing has a label, the teacher's, whom the student is then held against. The
    teacher's count is -1 where there is none.
    """
    labelled = answers["labels"] >= 0
    true = answers["labels"][labelled] if labelled.any() else answers.get("teacher", answers["labels"][labelled])
    chosen = labelled if labelled.any() else np.full(len(labelled), "teacher" in answers)
    rows = []
    for number in np.unique(true):
        here = true == number
        right = [int((answers[who][chosen][here] == number).sum()) if who in answers else -1 for who in _WHO]
        rows.append([int(number), int(here.sum()), *right])
    return rows


_WHO = ("student", "teacher")


def most_different(answers: Mapping[str, Array]) -> Array:
    """Places of the examples by their KL to the teacher, the largest first; without one, of the surest errors.

    Example:
        >>> most_different({"kl": np.array([0.1, 2.0, 0.5])}).tolist()
        [1, 2, 0]
    """
    if "kl" in answers:
        return np.argsort(-answers["kl"], kind="stable")
    wrong = np.flatnonzero((answers["labels"] >= 0) & (answers["student"] != answers["labels"]))
    return wrong[np.argsort(-answers["student_p"][wrong], kind="stable")]


def _told(answers: Mapping[str, Array], place: int, image: Array) -> dict[str, Any]:
    """One example: its number in the split, its classes by number (-1: no label), probabilities, KL and picture."""
    names = [name for name in ("student_p", "teacher_p", "kl") if name in answers]
    numbers = {name: round(float(answers[name][place]), 5) for name in names}
    classes = {name: int(answers[name][place]) for name in _WHO if name in answers}
    picture = thumbnail(np.asarray(image))
    return {"id": int(answers["ids"][place]), "label": int(answers["labels"][place])} | classes | numbers | picture


def thumbnail(image: Array) -> dict[str, str]:
    """A small picture of uint8 [H, W, 3] as a `data:` URL; one of few pixels keeps all of them."""
    from PIL import Image

    picture, file = Image.fromarray(image), io.BytesIO()
    kind = "jpeg" if max(picture.size) > _SMALL else "png"
    if kind == "jpeg":
        picture.thumbnail((LONGEST, LONGEST))
        picture.save(file, kind, quality=80)
    else:
        picture.save(file, kind, optimize=True)
    return {"image": f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"}

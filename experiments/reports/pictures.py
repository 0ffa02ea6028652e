"""What the runs' own files show: accuracy by class, the images of most disagreement, the contact sheet."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.distillation.answers import FILE
from experiments.tracking.source import Document, Runs

SHEET = "views.png"
# Bytes of a page that images may take in all, half of them contact sheets, and rows of tables by class.
IMAGE_BYTES = 4_000_000
ROWS = 50_000


def collected(runs: Runs, documents: Sequence[Document]) -> tuple[dict[str, Any], list[str]]:
    """What there is of each run, as far as there is room for it.

    Returns:
        `classes`: lists of class names; `answers` and `sheets`: by a run's place what `answers.json` has, with the
        number of its list of classes, and a `data:` URL. And what was left out, a line on each.
    """
    read = {place: _answers(runs.file(document, FILE)) for place, document in enumerate(documents)}
    answers = {place: found for place, found in read.items() if found is not None}
    classes: dict[str, int] = {}
    for found in answers.values():
        found["classes"] = classes.setdefault(json.dumps(found["classes"]), len(classes))
    told = [*_fewer_images(answers.values()), *_fewer_rows(answers.values())]
    sheets, more = _sheets(runs, documents)
    return {"classes": [json.loads(each) for each in classes], "answers": answers, "sheets": sheets}, told + more


def _answers(data: bytes | None) -> dict[str, Any] | None:
    """None for what is none, or of another format."""
    try:
        found = json.loads(data or b"null")
    except ValueError:
        return None
    return dict(found) if isinstance(found, dict) and found.get("format") == 1 else None


def _fewer_images(answers: Iterable[dict[str, Any]]) -> list[str]:
    """The first images of each run that fit into its share."""
    answers = list(answers)
    share, cut = IMAGE_BYTES / 2 / max(1, len(answers)), 0
    for found in answers:
        sizes = itertools.accumulate(len(image["image"]) for image in found["images"])
        fitting = sum(size <= share for size in sizes)
        cut = max(cut, len(found["images"]) - fitting)
        found["images"] = found["images"][:fitting]
    return [f"up to {cut} of each run's images with the most disagreement: name fewer runs to see them"] if cut else []


def _fewer_rows(answers: Iterable[dict[str, Any]]) -> list[str]:
    """The classes of each run that the student is worst at, as many as fit into its share."""
    answers = list(answers)
    share, cut = max(10, ROWS // max(1, len(answers))), False
    for found in answers:
        if len(found["by_class"]) > share:
            cut = True
            found["by_class"] = sorted(found["by_class"], key=lambda row: row[2] / row[1])[:share]
    return [f"all but the {share} worst classes of each run: name fewer runs to see them"] if cut else []


def _sheets(runs: Runs, documents: Sequence[Document]) -> tuple[dict[int, str], list[str]]:
    left, sheets, cut = IMAGE_BYTES / 2, {}, 0
    for place, document in enumerate(documents):
        data = runs.file(document, SHEET)
        if data is not None and data.startswith(b"\x89PNG"):
            url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            if len(url) <= left:
                sheets[place], left = url, left - len(url)
            else:
                cut += 1
    return sheets, [f"{cut} contact sheets that are too large: name fewer runs to see them"] if cut else []

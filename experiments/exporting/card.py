"""The model card beside a file: what it is, where it comes from, how good it is, and how it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.command.report import interval
from experiments.exporting.formats import Format
from experiments.exporting.subject import LICENCE, Subject
from framework.data.origins import is_hub
from framework.errors import UserError

NAME = "README.md"
# By this line a card of ours is known, which the next export into its folder may change.
MARK = "<!-- written by python -m experiments.export -->"
_SECTION = re.compile(r"^## Load `([^`]+)`\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def check(folder: Path) -> None:
    """Refuse a folder with somebody else's README.md in it.

    Raises:
        UserError: it says what to do.
    """
    path = folder / NAME
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path} is not ours, and the model card would replace it: --output FOLDER/FILE names another")


def text(subject: Subject, files: Sequence[Path], how: Format, checked: str, folder: Path) -> str:
    """The card.

    Args:
        subject: the student.
        files: that were written; the first is the one that is loaded.
        how: their format.
        checked: how the file was checked, and what it cost to round it, in sentences.
        folder: where they go: sections on other exports that lie there stay.
    """
    parts = [
        _front(subject),
        MARK,
        f"\n# {subject.card.name}, {subject.card.num_classes} classes\n",
        *_facts(subject),
        "\n" + _preprocessing(subject),
        *_kept(folder, files[0].name),
        _loading(subject, files, how, checked),
        f"## Licence\n\n{LICENCE}.\n",
    ]
    return "\n".join(parts)


def _front(subject: Subject) -> str:
    """What the hub reads, as YAML: JSON's strings are YAML's."""
    lines = ["pipeline_tag: image-classification", "license: unknown", "tags: [knowledge-distillation]"]
    if subject.spec is not None and is_hub(subject.spec.data.name):
        lines.append(f"datasets: [{json.dumps(subject.spec.data.name)}]")
    lines.append("metrics: [accuracy]")
    return "\n".join(["---", *lines, "---"])


def _facts(subject: Subject) -> Iterator[str]:
    card, spec = subject.card, subject.spec
    yield "| what | value |"
    yield "|---|---|"
    rows: dict[str, str] = {}
    if spec is not None:
        rows["data"] = spec.data.name
        rows["teacher"] = ", ".join(each.name for each in spec.teachers) or "none: it was trained on labels"
    rows["model"] = f"{card.name} {json.dumps(card.options)}"
    rows["command"] = f"`{card.made_by}`" if card.made_by else "not known"
    rows |= _measured(card.result)
    rows["spec's fingerprint"] = card.fingerprint or "not known"
    rows["weights' SHA-256"] = card.sha256
    rows["classes"] = ", ".join(subject.student.classes)
    for name, value in rows.items():
        yield f"| {name} | {value.replace('|', '&#124;')} |"


def _measured(result: Mapping[str, Any]) -> dict[str, str]:
    """Accuracy and agreement on the split that was measured last, as the run wrote them down."""
    split = next((name for name in ("test", "validation", "train") if result.get(name)), None)
    if split is None:
        return {"accuracy": "not measured"}
    values, count = result[split], result[split].get("examples", 0)
    student, rows = values.get("student", {}), {}
    for who in ("student", "teacher"):
        share = values.get(who, {}).get("accuracy")
        if share is not None and count:
            low, high = interval(share, count)
            name = "accuracy" if who == "student" else "the teacher's accuracy"
            rows[name] = f"{share:.1%} (95 % interval {low:.1%} to {high:.1%}) on {split}, {int(count)} images"
    if "agreement@1" in student:
        rows["agreement with the teacher"] = f"{student['agreement@1']:.1%} on {split}, KL {student['kl']:.4f}"
    return rows or {"accuracy": "not measured: the data have no labels"}


def _preprocessing(subject: Subject) -> str:
    card = subject.card
    told = "".join(f"- {what}: {how}\n" for what, how in card.preprocessing.items())
    told = told or f"- range: [-1, 1]: pixels / 127.5 - 1\n- size: {card.image_size} x {card.image_size}\n"
    return f"## Preprocessing\n\nFrom an image to a view, which is what the model sees:\n\n{told}"


def _kept(folder: Path, name: str) -> list[str]:
    """The sections on other files of this folder that are still there."""
    path = folder / NAME
    if not path.is_file():
        return []
    found = _SECTION.finditer(path.read_text(encoding="utf-8"))
    return [each[0].strip() + "\n" for each in found if each[1] != name and (folder / each[1]).exists()]


def _loading(subject: Subject, files: Sequence[Path], how: Format, checked: str) -> str:
    size = subject.card.image_size
    inputs = {
        "images": "`images`: uint8 [N, H, W, 3], RGB, upright, of any size; resizing, crop and range are in the file.",
        "views": f"`views`: float32 [N, {size}, {size}, 3].",
        "channels first": f"`views`: float32 [N, 3, {size}, {size}].",
    }
    lines = f"{how.load}\n{how.run}".replace("FILE", files[0].name)
    told = [inputs[how.takes]] if how.takes else ["The parameters by name; convolutions are [h, w, I, O]."]
    told += [f"`{each.name}` {how.second}." for each in files[1:]]
    return "\n".join([f"## Load `{files[0].name}`\n", "```python", lines, "```\n", *told, checked, ""])

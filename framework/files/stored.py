"""A model in a folder: `model.json` says how to build it and what it is, `weights.safetensors` holds its parameters.

A finished run leaves its student in this form, and a teacher is any such folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from framework.errors import UserError
from framework.files.arrays import DamagedFile, digest, read_arrays, write_arrays, write_text
from framework.spec.validation import build, plain

WEIGHTS, CARD = "weights.safetensors", "model.json"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What `model.json` says.

    Attributes:
        name: the model's name, as in `ModelSpec`.
        options: of its builder.
        classes: names of its outputs, in order; None where only `num_classes` is known.
        num_classes: number of logits.
        image_size: pixels of the views that it was trained on.
        resize: the shorter side before the central crop is cut, in pixels; None squeezes the whole image into a square.
        preprocessing: how an image becomes its input, in words: `channels`, `range`, `resizing` and `crop`.
        normalize: its own input range, as in `TeacherSpec`.
        sha256: of the weights' file.
        fingerprint: of the spec that made it.
        result: what it reached, `{"test": {"student": {"accuracy": ...}}}`.
        made_by: the command that made it.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    num_classes: int
    image_size: int
    resize: int | None = None
    preprocessing: dict[str, str] = field(default_factory=dict)
    normalize: Literal["imagenet", "unit", "caffe", "pixels", "lite"] | None = None
    sha256: str = ""
    fingerprint: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    made_by: str = ""


def save(folder: Path, card: ModelCard, weights: Mapping[str, np.ndarray]) -> ModelCard:
    """Write a model's folder; returns the card with the weights' SHA-256 in it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / WEIGHTS, weights, {"name": card.name})
    values = plain(card) | {"sha256": digest(folder / WEIGHTS)}
    write_text(folder / CARD, json.dumps(values, indent=1) + "\n")
    return build(ModelCard, values)


def is_stored(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return (folder / CARD).is_file()


def load_card(folder: Path) -> ModelCard:
    """Read a model's card.

    Raises:
        UserError: there is no model in the folder, or its card can't be read.
    """
    if not is_stored(folder):
        raise UserError(f"there is no model in {folder}: expected {CARD} and {WEIGHTS}")
    try:
        card = build(ModelCard, json.loads((folder / CARD).read_text(encoding="utf-8")))
        # A file that lies beside the card goes where the folder goes.
        beside = card.name.endswith(".keras") and not Path(card.name).is_absolute()
        return replace(card, name=str((folder / card.name).absolute())) if beside else card
    except UserError as error:
        raise UserError(f"{folder / CARD}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is damaged: {error}") from error


def load_weights(folder: Path, card: ModelCard) -> dict[str, np.ndarray]:
    """Read a model's parameters as float32, by name.

    Raises:
        UserError: the file is missing, damaged, or not the one that the card speaks of.
    """
    path = folder / WEIGHTS
    try:
        found = digest(path)
        arrays, _ = read_arrays(path)
    except (OSError, DamagedFile) as error:
        raise UserError(f"the weights in {folder} can't be read: {error}") from error
    if card.sha256 and found != card.sha256:
        raise UserError(f"{path} has the SHA-256 {found[:16]}..., its card says {card.sha256[:16]}...")
    # numpy calls bfloat16, which it doesn't know, a kind "V".
    return {name: a.astype(np.float32) if a.dtype.kind in "fV" else a for name, a in arrays.items()}

"""A trained student as files, from which it can be loaded without its run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.files import stored
from framework.files.arrays import write_arrays
from framework.files.paths import path_of
from framework.protocols import Array
from framework.spec import GIVEN, DistillSpec

if TYPE_CHECKING:
    from keras import Model

# The file of a student that was handed over, which no name builds again.
GIVEN_FILE = "student.keras"


def store(
    folder: Path, spec: DistillSpec, student: Model, weights: Mapping[str, Array], dtype: str, **known: Any
) -> list[Path]:
    """Put a trained student into a folder that serves as a teacher or for later use.

    Args:
        folder: made where it is missing.
        student: the model, whatever its variables hold.
        weights: what was learned, by the parameters' names.
        dtype: in which they are kept; counters and seeds stay what they are.
        known: what the card says beside: `classes`, `num_classes`, `result` and `made_by`.

    Returns:
        The files: a model card and weights; for a Keras student that was handed over as an object, its `.keras`
        file as well, and for a module that is no Keras model, whose code is needed to build it, the weights alone.
    """
    kept = {name: array.astype(dtype) if array.dtype.kind in "fV" else array for name, array in weights.items()}
    name, options, files = spec.student.name, spec.student.options, [folder / stored.CARD, folder / stored.WEIGHTS]
    if name == GIVEN:
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(student, "given"):
            write_arrays(folder / stored.WEIGHTS, kept, {"name": student.name})
            return [folder / stored.WEIGHTS]
        name, options, files = GIVEN_FILE, {}, [*files, folder / GIVEN_FILE]
        with_weights(student, weights).save(folder / GIVEN_FILE)
    elif name.endswith(".keras"):
        # A relative path would mean another file elsewhere.
        name = str(path_of(name).resolve())
    size, resize = spec.views.size, spec.evaluation.resize
    card = stored.ModelCard(
        name=name,
        options=dict(options),
        image_size=size,
        resize=resize,
        preprocessing=_preprocessing(size, resize),
        fingerprint=spec.fingerprint,
        **known,
    )
    stored.save(folder, card, kept)
    return files


def with_weights(student: Model, weights: Mapping[str, Array]) -> Model:
    """The model, with what was learned assigned to it."""
    from framework.models.initial import assign

    assign(student, weights)
    return student


def _preprocessing(size: int, resize: int | None) -> dict[str, str]:
    whole = f"the whole image is squeezed to {size} x {size} pixels, whatever its shape"
    cut = f"the shorter side is resized to {resize} pixels, and the central {size} x {size} are cut out"
    return {
        "channels": "RGB, last",
        "range": "[-1, 1]: pixels / 127.5 - 1",
        "resizing": "bilinear, half-pixel centres, no antialiasing",
        "crop": whole if resize is None else cut,
    }

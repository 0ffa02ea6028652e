"""Teachers that teach less than they could: which of them are noticed on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.distillation import hints
from experiments.distillation.teachers import Teacher
from framework.data.source import Splits
from framework.spec import DistillSpec, TeacherSpec

pytestmark = pytest.mark.backend
LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
SPEC = DistillSpec.from_dict({"teachers": [{"name": "own:build"}], "views": {"size": 8}})


class Grey:
    """Flat grey images of five classes, from dark to light."""

    num_examples = 64

    def images(self, ids: Any) -> Any:
        values = 255 * LEVELS[np.asarray(ids) % 5] + np.asarray(ids) % 3
        return [np.full((8, 8, 3), value, np.uint8) for value in values]

    def labels(self, ids: Any) -> Any:
        return (np.asarray(ids) % 5).astype(np.int32)


def splits(labelled: bool = True) -> Splits:
    source: Any = Grey()
    return Splits(source, None, source, tuple("abcde") if labelled else None, "grey", "0")


def teacher(scale: float, offset: float, order: Any = range(5), **changes: Any) -> Teacher:
    """Knows the classes by their mean, of pixels in [0, 1] that were brought to another range."""
    import keras

    image = keras.Input((8, 8, 3))
    head = keras.layers.Dense(5)
    model = keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(image)))
    means = (LEVELS * scale + offset)[list(order)]
    head.set_weights([np.tile(2 * means / 3, (3, 1)), -(means**2)])
    known = {"spec": TeacherSpec(name="own:build"), "size": 8, "folder": None, "model": model, "sha256": ""}
    return Teacher(**(known | changes))


@pytest.mark.parametrize(("scale", "name"), [(1, "unit"), (255, "pixels")])
def test_another_input_range_is_noticed(scale: float, name: str) -> None:
    [line] = hints.of_teacher(SPEC, teacher(scale, 0), splits())
    assert line.startswith("hint: the teacher 'own:build' is right on ")
    assert line.endswith(f"of 64 images, and on 100% with teacher.normalize={name}")


def test_another_order_of_classes_is_noticed() -> None:
    [line] = hints.of_teacher(SPEC, teacher(2, -1, [1, 2, 3, 4, 0]), splits())
    assert line.endswith("and on 100% with its outputs in another order: teacher.classes=FILE gives the order")


def test_outputs_of_a_sigmoid_are_noticed() -> None:
    import keras

    right = teacher(2, -1)
    model = keras.Model(right.model.inputs, keras.ops.sigmoid(right.model.outputs[0]))
    for labelled in (True, False):
        [line] = hints.of_teacher(SPEC, teacher(2, -1, model=model), splits(labelled))
        assert line == (
            "hint: all outputs of the teacher 'own:build' lie in [0, 1], as after a sigmoid; logits are expected"
        )


def test_nothing_is_said_of_what_is_right_or_was_said() -> None:
    assert hints.of_teacher(SPEC, teacher(2, -1), splits()) == []
    assert hints.of_teacher(SPEC, teacher(1, 0), splits(labelled=False)) == []
    assert hints.of_teacher(SPEC, teacher(1, 0, folder=Path("stored")), splits()) == []
    said = TeacherSpec(name="own:build", normalize="imagenet")
    assert hints.of_teacher(SPEC, teacher(1, 0, spec=said), splits()) == []

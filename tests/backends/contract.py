"""What any model must do as a student and as a teacher, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.distillation import teachers
from framework.data.source import Splits
from framework.files import stored
from framework.spec import DistillSpec, TeacherSpec
from tests.backends.tiny import CLASSES, SIZE, Tiny

Array = np.ndarray
NAMES = tuple("abcd")
assert len(NAMES) == CLASSES


def equal(one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype, name
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def learns(tiny: Tiny, spec: DistillSpec, steps: int = 40) -> dict[str, Array]:
    """A student's loss goes down, all of its state moves, and a restored run is the uninterrupted one; its weights."""
    trainer = tiny.trainer(spec)
    first = trainer.state()
    losses = tiny.run(trainer, spec, steps)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])
    middle = trainer.state()
    unmoved = [name for name in first if np.array_equal(first[name], middle[name])]
    assert not unmoved, unmoved
    losses = tiny.run(trainer, spec, 2)
    other = tiny.trainer(spec, seed=3)
    other.restore(middle)
    equal(other.state(), middle)
    assert tiny.run(other, spec, 2) == losses
    equal(other.state(), trainer.state())
    return {name.removeprefix("student/"): a for name, a in middle.items() if name.startswith("student/")}


def teaches_when_stored(tiny: Tiny, spec: DistillSpec, weights: Mapping[str, Array], folder: Path) -> None:
    """A stored student comes back bit for bit, as a teacher that gives the same logits."""
    name, options = spec.student.name, spec.student.options
    card = stored.ModelCard(name=name, options=options, classes=NAMES, num_classes=CLASSES, image_size=SIZE)
    stored.save(folder, card, weights)
    again = spec.replace(teachers=(TeacherSpec(name=str(folder)),))
    known: Any = Splits(None, None, None, NAMES, "mine", "0")  # type: ignore[arg-type]
    teacher = teachers.load(again, known)[0].model
    trainer = tiny.backend.compile(
        again, tiny.model(spec.student, seed=5), [teacher], total_steps=10, device=tiny.device
    )
    state = trainer.state()
    trainer.restore({**state, **{f"student/{key}": array for key, array in weights.items()}})
    found = trainer.evaluate(tiny.eval_batches())
    assert found["student.agreement@1"] == 1.0
    # The same logits twice: what is left of the distance is rounding.
    assert abs(found["student.kl"]) < 1e-6
    tiny.run(trainer, again, 1)
    # The state has the trainable ones first, a model has its own order.
    equal(dict(sorted(_values(teacher).items())), dict(sorted(weights.items())))


def _values(model: Any) -> dict[str, Array]:
    from keras import ops

    from framework.models.initial import parameters

    return {name: np.array(ops.convert_to_numpy(variable)) for name, variable in parameters(model).items()}

"""A trainer's state under names that are the same on every backend.

`student/<parameter>`, `optimizer/<moment>/<parameter>` and `step`, as plain numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from framework.errors import UserError, near
from framework.protocols import Array
from framework.task import Task

Carry = dict[str, Any]


class StateNames:
    """Translates between a backend's lists and named arrays.

    A carry is {"params": [...], "buffers": [...], "moments": {name: [...]}} in the order of Keras's trainable and
    non-trainable variables; `carry` is one of names.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.params, self.buffers = task.names
        moments = {each: [f"optimizer/{each}/{name}" for name in self.params] for each in task.optimizer.moments}
        params, buffers = ([f"student/{name}" for name in names] for names in task.names)
        self.carry: Carry = {"params": params, "buffers": buffers, "moments": moments}

    def initial(self) -> Carry:
        """The student's present values, and moments of zero, in numpy."""
        student = self.task.student
        params, buffers = (
            [np.array(ops.convert_to_numpy(variable)) for variable in variables]
            for variables in (student.trainable_variables, student.non_trainable_variables)
        )
        moments = {
            name: [np.zeros(param.shape, moment_dtype(dtype, param.dtype)) for param in params]
            for name, dtype in self.task.optimizer.moments.items()
        }
        return {"params": params, "buffers": buffers, "moments": moments}

    def flat(self, carry: Carry, steps_done: int) -> dict[str, Array]:
        """From a carry of numpy arrays to named arrays."""
        return {**dict(pairs(self.carry, carry)), "step": np.asarray(steps_done, np.int64)}

    def nested(self, state: Mapping[str, Array]) -> tuple[Carry, int]:
        """From named arrays to a carry of numpy arrays and the number of steps done.

        Raises:
            UserError: a name is missing, or an array has another shape than the student's.
        """
        expected = self.flat(self.initial(), 0)
        for name, array in expected.items():
            if name not in state:
                raise UserError(f"the state has no {name!r}: {near(name, list(state)[:8])}")
            if state[name].shape != array.shape:
                raise UserError(f"{name} is {state[name].shape} in the state and {array.shape} in the student")
        carry = mapped(lambda name: np.array(state[name], dtype=expected[name].dtype), self.carry)
        return carry, int(state["step"])

    def probed(
        self, parts: Sequence[tuple[Array, Sequence[Array], Array, Sequence[Array], Sequence[Array]]]
    ) -> dict[str, Array]:
        """What one step computes before it updates, by name.

        Args:
            parts: of each part of the batch its loss, views, student's and teachers' logits, and gradients.
        """
        losses, views, students, teachers, grads = zip(*parts, strict=True)
        named = {"loss": _mean(losses), "logits.student": np.concatenate(students)}
        student, *others = (np.concatenate(each) for each in zip(*views, strict=True))
        named["view.student"] = student
        # The first teacher's view, and those of other sizes.
        for index, view in enumerate(others):
            if not index or view.shape != others[0].shape:
                named["view.teacher" + (str(index) if index else "")] = view
        for index, each in enumerate(zip(*teachers, strict=True)):
            named[f"logits.teacher{index}"] = np.concatenate(each)
        means = map(_mean, zip(*grads, strict=True))
        return named | {f"gradient/{name}": grad for name, grad in zip(self.params, means, strict=True)}


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same lists and dictionaries with a function of each leaf; Keras's own walk is 5 % of PyTorch's small step."""
    if isinstance(tree, Mapping):
        return {name: mapped(function, each) for name, each in tree.items()}
    return [mapped(function, each) for each in tree] if isinstance(tree, (list, tuple)) else function(tree)


def pairs(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """The leaves of lists and dictionaries beside another's of that shape, but not what is the very same in both."""
    if one is other:
        return
    if isinstance(one, Mapping):
        for name, each in one.items():
            yield from pairs(each, other[name])
    elif isinstance(one, (list, tuple)):
        for each, its in zip(one, other, strict=True):
            yield from pairs(each, its)
    else:
        yield one, other


def _mean(arrays: Sequence[Array]) -> Array:
    """One array stays what it is, whatever its dtype."""
    return np.asarray(arrays[0] if len(arrays) == 1 else sum(arrays) / len(arrays))


def moment_dtype(stored: str | None, param: Any) -> np.dtype:
    """The numpy dtype that a moment is stored in; numpy has bfloat16 from `ml_dtypes`."""
    if stored == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    # A float64 run keeps float64 moments, or it would not be one; half precision would lose them.
    return np.promote_types(np.float32, param) if np.dtype(param).kind == "f" else np.dtype(np.float32)

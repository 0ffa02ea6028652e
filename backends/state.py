"""A trainer's state under names that are the same on every backend.

`student/<parameter>`, `optimizer/<moment>/<parameter>` and `step`, as plain numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from framework.errors import UserError, near
from framework.protocols import Array
from framework.task import Task

Carry = dict[str, Any]


class StateNames:
    """Translates between a backend's lists and named arrays.

    A carry is {"params": [...], "buffers": [...], "moments": {name: [...]}} in the order of Keras's trainable and
    non-trainable variables.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.params, self.buffers = task.names
        self.moments = {name: [f"optimizer/{name}/{param}" for param in self.params] for name in task.optimizer.moments}

    def initial(self) -> Carry:
        """The student's present values, and moments of zero, in numpy."""
        student = self.task.student
        params = [to_numpy(variable) for variable in student.trainable_variables]
        moments = {
            name: [np.zeros(param.shape, moment_dtype(dtype, param.dtype)) for param in params]
            for name, dtype in self.task.optimizer.moments.items()
        }
        buffers = [to_numpy(variable) for variable in student.non_trainable_variables]
        return {"params": params, "buffers": buffers, "moments": moments}

    def flat(self, carry: Carry, steps_done: int) -> dict[str, Array]:
        """From a carry of numpy arrays to named arrays."""
        names = [f"student/{name}" for name in (*self.params, *self.buffers)]
        state = dict(zip(names, (*carry["params"], *carry["buffers"]), strict=True))
        for moment, names in self.moments.items():
            state |= dict(zip(names, carry["moments"][moment], strict=True))
        return {**state, "step": np.asarray(steps_done, np.int64)}

    def nested(self, state: Mapping[str, Array]) -> tuple[Carry, int]:
        """From named arrays to a carry of numpy arrays and the number of steps done.

        Raises:
            UserError: a name is missing, or an array has another shape than the student's.
        """
        expected = self.initial()
        for name, array in self.flat(expected, 0).items():
            if name not in state:
                raise UserError(f"the state has no {name!r}: {near(name, list(state)[:8])}")
            if state[name].shape != array.shape:
                raise UserError(f"{name} is {state[name].shape} in the state and {array.shape} in the student")

        def taken(names: Sequence[str], like: Sequence[Array]) -> list[Array]:
            return [np.array(state[name], dtype=old.dtype) for name, old in zip(names, like, strict=True)]

        carry = {
            "params": taken([f"student/{name}" for name in self.params], expected["params"]),
            "buffers": taken([f"student/{name}" for name in self.buffers], expected["buffers"]),
            "moments": {key: taken(names, expected["moments"][key]) for key, names in self.moments.items()},
        }
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


def replaced(carry: Carry, new: Carry) -> Iterator[tuple[Any, Any]]:
    """Each tensor of a carry whose place another one takes, with that one."""
    lists = [(carry[name], new[name]) for name in ("params", "buffers")]
    lists += [(tensors, new["moments"][name]) for name, tensors in carry["moments"].items()]
    for tensors, values in lists:
        if values is not tensors:
            yield from (pair for pair in zip(tensors, values, strict=True) if pair[0] is not pair[1])


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


def to_numpy(variable: Any) -> Array:
    """A Keras variable's value, copied."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))

"""What differs between backends: the hooks that `backends.trainer` does a step, an evaluation and a state with.

A backend fills them in, in this order; those that are not abstract do what most backends need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from keras import ops

from backends.base import Device
from backends.state import Carry
from framework.errors import UserError
from framework.inputs import Inputs
from framework.models.frozen import freeze
from framework.task import Task, mode

Tensor: TypeAlias = Any
Tree: TypeAlias = Any
Tensors: TypeAlias = Mapping[str, Any]
# A loss, the student's logits, its buffers afterwards, and the gradients of its parameters.
Gradients: TypeAlias = tuple[Any, Any, Sequence[Any], Sequence[Any]]

# What a backend does in the first step whose compiled programs stay for the next run.
COMPILING = "compiling the step (first time for this spec on this device)"


class Hooks(ABC):
    """A backend's part of a trainer.

    Attributes:
        task: the spec with its models.
        first_step: what is waited for before the first step has ended.
        together: steps that one call of a program may do; the backend's choice.
    """

    task: Task
    first_step = "the first step"
    together = 1

    @abstractmethod
    def placed(self, device: Device | None) -> Any:
        """The backend's own device."""

    @abstractmethod
    def carried(self, initial: Carry) -> Tree:
        """A carry on the device, from one in numpy."""

    @abstractmethod
    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        """As `holding`, compiled as the backend does it; the argument `donated` is not needed after the call."""

    @abstractmethod
    def gradients(self, carry: Tree, seen: Tensors) -> Gradients:
        """The loss of what was seen and its gradients, with the student in training mode."""

    @abstractmethod
    def put(self, tree: Tree) -> Tree:
        """Numpy arrays in lists and dictionaries, as tensors on the device."""

    def fed(self, parts: Sequence[Inputs]) -> Tree:
        """The inputs of each device of this process, on it."""
        [part] = parts
        return self.put(part)

    def apart(self, tree: Tree) -> Sequence[Tree]:
        """What each device of this process gave, from what came of it in numpy."""
        return [tree]

    def reduced(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """The sums over all devices of all processes, everywhere the same; for backends that compute on several."""
        raise UserError("this backend computes on one device, in one process")

    def summed(self, own: Tensor) -> Tensor:
        """A tensor's sum over the devices that compute a batch together, through which gradients pass."""
        return self.reduced([own])[0]

    @abstractmethod
    def host(self, tree: Tree) -> Tree:
        """Tensors in lists and dictionaries, as numpy arrays of their own."""

    @abstractmethod
    def stored(self, carry: Tree, new: Tree) -> Tree | None:
        """The carry with new values; None where they were written into it."""

    def there(self) -> AbstractContextManager[Any]:
        """Within it, Keras makes tensors on the trainer's device; here it does already, as `configure` had it."""
        return nullcontext()

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an exception says that memory was not enough."""
        return isinstance(error, MemoryError)

    def intact(self) -> bool:
        """Whether the state is that of before a step that failed; False where nobody knows."""
        return False

    def values(self, carry: Tree) -> Tree:
        """A carry as what the optimizer computes with."""
        return carry

    def added(self, total: Sequence[Tensor], values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Sums, in the dtype of `total`."""
        return [each + ops.cast(value, each.dtype) for each, value in zip(total, values, strict=True)]

    def student_logits(self, carry: Tree, view: Tensor) -> Tensor:
        """The student's logits in evaluation."""
        del carry  # the model's own variables
        return self.called(self.task.student, view, training=False)

    def frozen_values(self, teacher: Any) -> Tree:
        """What a teacher computes with besides its own variables, which hold that from now on where they are ours."""
        if teacher not in self.task.handed_over:
            freeze(teacher, self.replace)

    def replace(self, variable: Any, value: Tensor) -> None:
        """Put a tensor, perhaps of another dtype, in the place of a variable's value."""
        variable._value = value

    def teacher_logits(self, teacher: Any, values: Tree, view: Tensor) -> Tensor:
        """A teacher's logits."""
        del values  # the model's own variables
        return self.called(teacher, view, training=False)

    def called(self, model: Any, view: Tensor, training: bool) -> Tensor:
        """A model's logits."""
        return model(view, **mode(model, training))

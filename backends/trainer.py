"""What the trainers of all backends share: a step, an evaluation and a state, over a handful of hooks.

A backend fills in the hooks of `backends.hooks` and compiles the methods `seen`, `nothing`, `gathered`, `updated`,
`answered` and `measured`: functions of tensors, whose first arguments are what the trainer holds:

    carry   {"params": [...], "buffers": [...], "moments": {name: [...]}}: the student's state, as in `StateNames`
    frozen  what each teacher computes with
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property, wraps
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from keras import ops

from backends.base import Device
from backends.hooks import Gradients, Hooks, Tensor, Tensors, Tree
from backends.state import StateNames
from framework import evaluation
from framework.errors import OutOfMemory
from framework.inputs import Inputs
from framework.optimizers.base import widened
from framework.protocols import Array, Batch, EvalBatch, Seen
from framework.task import Task
from framework.world import summed_by

_Method = TypeVar("_Method", bound=Callable[..., Any])


def placed_there(method: _Method) -> _Method:
    """The method, with all that Keras makes in it on the trainer's device."""

    @wraps(method)
    def there(self: BackendTrainer, *args: Any, **keywords: Any) -> Any:
        with self.there():
            return method(self, *args, **keywords)

    return there  # type: ignore[return-value]


class BackendTrainer(Hooks):
    """See `framework.protocols.Trainer`, which describes the methods that have no docstring here.

    Args:
        task: the spec with its models.
        device: where it computes; None is the CPU.
        jit: compile or not; None is the backend's habit.
    """

    # How urgently this process wants all of them to end: each hears of it with the gradients.
    asked = 0.0

    def __init__(self, task: Task, device: Device | None = None, jit: bool | None = None) -> None:
        self.task, self.device, self.jit = task, self.placed(device), jit
        self._prepare()

    @placed_there
    def _prepare(self) -> None:
        task = self.task
        self.names, self.steps_done = StateNames(task), 0
        self.carry = self.carried(self.names.initial())
        self._see = self.compiled(self.seen, "frozen")
        self._nothing = self.compiled(self.nothing, "carry")
        self._gather = self.compiled(self.gathered, "carry", donated=1)
        self._update = self.compiled(self.updated, "carry", donated=0)
        self._answer = self.compiled(self.answered, "frozen")
        self._measure = self.compiled(self.measured, "carry", "frozen")
        # For a look at what a step computes inside.
        self._views, self._differentiate = self.compiled(task.views), self.compiled(self.differentiated, "carry")

    @cached_property
    def frozen(self) -> list[Tree]:
        """What each teacher computes with; a trainer that is given what teachers say never makes it."""
        return [self.frozen_values(teacher) for teacher in self.task.teachers]

    @placed_there
    def see(self, batch: Batch) -> Seen:
        return self._look(batch)

    def step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        return self.steps([batch])[0]

    @placed_there
    def steps(self, batches: Sequence[Batch | Seen]) -> Sequence[Mapping[str, Any]]:
        self.writing = False
        return [self._step(batch) for batch in batches]

    def explained(self, error: Exception) -> Exception:
        """The error of a step or of reading its metrics, or an `OutOfMemory` or what ended another in its place."""
        if not self.is_out_of_memory(error):
            return self.task.world.blamed(error)
        found = OutOfMemory(str(error), self.intact())
        found.__cause__ = error
        return found

    def _look(self, batch: Batch) -> Seen:
        return [self._see(self.fed(parts)) for parts in self._turns(batch)]

    def _turns(self, batch: Batch) -> list[Sequence[Inputs]]:
        """What all devices compute at once, for each of the parts that they take in turn."""
        parts, in_turn = self.task.micro_batches(batch), self.task.grad_accum_steps
        return [parts[turn::in_turn] for turn in range(in_turn)]

    def _step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        seen = self._look(batch) if isinstance(batch, Batch) else batch
        metrics = self.learn(seen, self.put(self._scalars()))
        self.steps_done += 1
        return metrics

    def _scalars(self) -> Inputs:
        asked = {"asked": np.asarray(self.asked, self.task.dtype)} if self.task.world.size > 1 else {}
        return self.task.scalars(self.steps_done) | asked

    def learn(self, seen: Seen, scalars: Tensors) -> Mapping[str, Any]:
        """Update the student by what was seen of each part of a batch."""
        *others, last = seen
        total = self._nothing() if others else None
        for part in others:
            total = self._gather(total, part)
        carry, metrics = self._update(total, last, scalars)
        self._keep(carry)
        return metrics

    @placed_there
    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        """Accuracy, loss, KL to the teacher and agreement, over the batches of all processes."""
        found = [(len(group), sums) for group, (sums, _) in self._measured(batches)]
        own = [sums for count, each in found for sums in self._own(each)[:count]]
        plain = [{name: float(value) for name, value in sums.items()} for sums in own]
        return evaluation.means(sums for given in self.task.world.gather(plain) for sums in given)

    @placed_there
    def answers(self, batches: Iterable[EvalBatch]) -> dict[str, Array]:
        parts = []
        for group, (_, said) in self._measured(batches):
            for batch, each in zip(group, self._own(said), strict=False):
                parts.append({name: array[batch.mask > 0] for name, array in each.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    @placed_there
    def probe(self, batch: Batch) -> dict[str, Array]:
        """What the next step would compute of this process's parts, without doing it."""
        buffers = self.host(self.carry["buffers"])
        turns = [self._probed(self.fed(parts)) for parts in self._turns(batch)]
        self._keep(self.stored(self.carry, {**self.carry, "buffers": self.put(buffers)}))
        # A device's parts follow each other.
        return self.names.probed([part for device in zip(*turns, strict=True) for part in device])

    @placed_there
    def look(self, batch: Batch) -> list[Array]:
        return list(self._own(self._views(self._alike(batch)))[0])

    @placed_there
    def teach(self, batch: Batch) -> list[Array]:
        return list(self._own(self._answer(self._alike(batch)))[0])

    @placed_there
    def state(self) -> dict[str, Array]:
        return self.names.flat(self.host(self.carry), self.steps_done)

    @placed_there
    def restore(self, state: Mapping[str, Array]) -> None:
        carry, self.steps_done = self.names.nested(state)
        self._keep(self.stored(self.carry, self.put(carry)))

    def seen(self, frozen: Tree, inputs: Tensors) -> Tensors:
        """All that a student learns from, whichever it is."""
        views = self.task.views(inputs)
        return self.task.seen(views, self.task.targets(inputs) or self.taught(frozen, views[1:]), inputs)

    def nothing(self, carry: Tree) -> Sequence[Tensor]:
        """A loss, gradients and statistics of zero, in float32 at least."""
        summed = [*carry["params"], *(carry["buffers"][place] for place in self.task.statistics)]
        return [ops.zeros((), self.task.dtype), *widened([ops.zeros_like(each) for each in summed])]

    def gathered(self, carry: Tree, total: Sequence[Tensor], seen: Tensors) -> Sequence[Tensor]:
        """The loss and the gradients of one part more."""
        return self.added(total, self.weighed(carry, seen)[0])

    def weighed(self, carry: Tree, seen: Tensors) -> tuple[list[Tensor], Sequence[Tensor]]:
        """The loss and the gradients of a part, by its share of the examples; and the buffers afterwards.

        Where the batch has other parts too, their statistics follow the gradients: each part starts with the same.
        """
        before = [ops.copy(carry["buffers"][place]) for place in self.task.statistics]
        loss, _, buffers, grads = self.differentiated(carry, seen)
        after = [ops.copy(buffers[place]) for place in self.task.statistics]
        self.stored(carry, {**carry, "buffers": self._with_statistics(carry["buffers"], before)})
        after = [each * ops.cast(seen["share"], each.dtype) for each in after] if "share" in seen else after
        return [loss, *grads, *after], buffers

    def differentiated(self, carry: Tree, seen: Tensors) -> Gradients:
        """As `gradients`, of all devices where the student's layers look at all of a batch."""
        with summed_by(self.summed) if self.task.norms_whole else nullcontext():
            return self.gradients(carry, seen)

    def updated(
        self, carry: Tree, total: Sequence[Tensor] | None, seen: Tensors, scalars: Tensors
    ) -> tuple[Tree | None, Tensors]:
        """The state after one update, as `stored` gives it, and the step's metrics."""
        own, buffers = self.weighed(carry, seen)
        (loss, *found), told = self._total(total, own, scalars)
        count = len(carry["params"])
        grads, buffers = found[:count], self._with_statistics(buffers, found[count:])
        values, self.writing = self.values(carry), True
        params, moments, norm = self.task.optimizer.update(
            values["params"], grads, values["moments"], self.task.decayed, scalars
        )
        new = {"params": params, "buffers": buffers, "moments": moments}
        return self.stored(carry, new), {"loss": loss, "grad_norm": norm, **told}

    def _total(
        self, total: Sequence[Tensor] | None, found: Sequence[Tensor], scalars: Tensors
    ) -> tuple[Sequence[Tensor], Tensors]:
        """The mean over all parts of the batch, `total` being the earlier ones' sum; and what processes tell all."""
        found = found if total is None else self.added(total, found)
        told, count = {name: each for name, each in scalars.items() if name == "asked"}, len(found)
        if not self.task.world.is_alone:
            found = self.reduced([*widened(found), *told.values()])
        told, found = dict(zip(told, found[count:], strict=True)), found[:count]
        return [each / self.task.parts for each in found] if self.task.parts > 1 else found, told

    def answered(self, frozen: Tree, inputs: Tensors) -> list[Tensor]:
        """The teachers' logits for their views."""
        return self.taught(frozen, self.task.views(inputs)[1:])

    def measured(self, carry: Tree, frozen: Tree, inputs: Tensors) -> tuple[Tensors, Tensors]:
        """The sums of an evaluation batch, and what is said of each of its examples."""
        view, *others = self.task.eval_views(inputs)
        teachers = self.task.targets(inputs) or self.taught(frozen, others)
        logits = self.student_logits(carry, view)
        return self.task.eval_sums(logits, teachers, inputs), self.task.eval_answers(logits, teachers)

    def taught(self, frozen: Tree, views: Sequence[Tensor]) -> list[Tensor]:
        """Each teacher's logits for its view."""
        views = self.task.teacher_views(views)
        return [self.teacher_logits(*each) for each in zip(self.task.teachers, frozen, views, strict=True)]

    def loss(self, logits: Tensor, seen: Tensors) -> Tensor:
        """The loss of a student's logits; of a part, by its share of the examples."""
        loss = self.task.loss(logits, self.task.taught(seen), seen)
        return loss * seen["share"] if "share" in seen else loss

    def holding(self, function: Callable[..., Any], *held: str) -> Callable[..., Any]:
        """The function of the other arguments alone; `held` names what is put in front, `carry` or `frozen`."""
        return lambda *inputs: function(*(getattr(self, name) for name in held), *inputs)

    def _measured(self, batches: Iterable[EvalBatch]) -> Iterator[tuple[Sequence[EvalBatch], tuple[Tree, Tree]]]:
        """As many batches as this process has devices, and what came of them; idle ones take the last batch again."""
        given, devices = iter(batches), self.task.world.devices
        while group := tuple(islice(given, devices)):
            inputs = [self.task.eval_inputs(batch) for batch in group]
            yield group, self._measure(self.fed([*inputs, *[inputs[-1]] * (devices - len(group))]))

    def _alike(self, batch: Batch) -> Tree:
        """A batch as all devices see it."""
        return self.fed([self.task.shown(batch)] * self.task.world.devices)

    def _probed(self, inputs: Tree) -> list[tuple[Any, ...]]:
        seen = self._see(inputs)
        found = zip(*map(self._own, (self._differentiate(seen), self._views(inputs), seen)), strict=True)
        return [(loss, views, logits, self.task.taught(own), grads) for (loss, logits, _, grads), views, own in found]

    def _own(self, found: Tree) -> Sequence[Tree]:
        """In numpy what each device gave."""
        return self.apart(self.host(found))

    def _keep(self, carry: Tree | None) -> None:
        self.carry = self.carry if carry is None else carry

    def _with_statistics(self, buffers: Sequence[Tensor], values: Sequence[Tensor]) -> Sequence[Tensor]:
        new = list(buffers)
        for place, value in zip(self.task.statistics, values, strict=True):
            new[place] = ops.cast(value, buffers[place].dtype)
        return new

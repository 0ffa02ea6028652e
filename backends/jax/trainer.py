"""A spec compiled with JAX: one jitted update whose state is donated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from backends.base import Device
from backends.state import StateNames
from framework import evaluation
from framework.models.layers import standardised, standardised_convolutions, standardised_kernels
from framework.protocols import Array, Batch, EvalBatch, Seen
from framework.spec import DistillSpec
from framework.task import Task, mode

Tree = Any


class JaxTrainer:
    """See `framework.protocols.Trainer`; the state lives in `_carry`, the models' own variables only say its shapes."""

    def __init__(self, task: Task, device: jax.Device, jit: bool) -> None:
        self.task, self.device = task, device
        self.names = StateNames(task)
        self.steps_done = 0
        self._carry = self._put(self.names.initial())
        compile_ = jax.jit if jit else lambda function, **_: function
        self._see = compile_(self._seen_of)
        self._update = compile_(self._update_of, donate_argnums=0)
        self._gather = compile_(self._gathered_of, donate_argnums=1)
        self._gradients = compile_(self._gradients_of)
        self._views = compile_(self.task.views)
        self._sums = compile_(self._sums_of)
        self._targets = compile_(self._targets_of)

    @cached_property
    def _frozen(self) -> Tree:
        """What each teacher computes with; a trainer that is given what teachers say never makes it."""
        return self._put([_values(teacher) for teacher in self.task.teachers])

    def see(self, batch: Batch) -> Seen:
        return [self._see(self._frozen, self._put(part)) for part in self.task.parts(batch)]

    def step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        *others, last = self.see(batch) if isinstance(batch, Batch) else batch
        gathered = self._nothing() if others else None
        for part in others:
            gathered = self._gather(self._carry, gathered, part)
        scalars = self._put(self.task.scalars(self.steps_done))
        self._carry, metrics = self._update(self._carry, gathered, last, scalars)
        self.steps_done += 1
        return metrics

    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        inputs = (self._put(self.task.eval_inputs(batch)) for batch in batches)
        return evaluation.means([self._sums(self._carry, self._frozen, each) for each in inputs])

    def probe(self, batch: Batch) -> dict[str, Array]:
        parts = []
        for inputs in map(self._put, self.task.parts(batch)):
            seen = self._see(self._frozen, inputs)
            (loss, (_, logits)), grads = self._gradients(self._carry, seen)
            parts.append(_host((loss, self._views(inputs), logits, self.task.taught(seen), grads)))
        return self.names.probed(parts)

    def teach(self, batch: Batch) -> list[Array]:
        return _host(self._targets(self._frozen, self._put(self.task.shown(batch))))

    def state(self) -> dict[str, Array]:
        return self.names.flat(_host(self._carry), self.steps_done)

    def restore(self, state: Mapping[str, Array]) -> None:
        carry, self.steps_done = self.names.nested(state)
        self._carry = self._put(carry)

    def _seen_of(self, frozen: Tree, inputs: Tree) -> dict[str, jax.Array]:
        views = self.task.views(inputs)
        teachers = self.task.targets(inputs) or self._teach(frozen, views[1:])
        return self.task.seen(views, teachers, inputs)

    def _update_of(self, carry: Tree, gathered: Tree, seen: Tree, scalars: Tree) -> tuple[Tree, dict[str, jax.Array]]:
        (loss, (buffers, _)), grads = self._gradients_of(carry, seen)
        if gathered is not None:
            total = jax.tree.map(jnp.add, gathered, (loss, grads))
            loss, grads = jax.tree.map(lambda each: each / self.task.grad_accum_steps, total)
        params, moments, norm = self.task.optimizer.update(
            carry["params"], grads, carry["moments"], self.task.decayed, scalars
        )
        return {"params": params, "buffers": buffers, "moments": moments}, {"loss": loss, "grad_norm": norm}

    def _gathered_of(self, carry: Tree, gathered: Tree, seen: Tree) -> Tree:
        (loss, _), grads = self._gradients_of(carry, seen)
        return jax.tree.map(jnp.add, gathered, (loss, grads))

    def _nothing(self) -> Tree:
        """A loss and gradients of zero, in float32 at least."""
        wide = [jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)) for p in self._carry["params"]]
        return self._put((jnp.zeros((), self.task.dtype), wide))

    def _gradients_of(self, carry: Tree, seen: Tree) -> tuple[tuple[jax.Array, Tree], Tree]:
        def loss_of(params: Tree) -> tuple[jax.Array, Tree]:
            student = self.task.student
            logits, buffers = _call(student, params, carry["buffers"], seen["view"], training=True)
            return self.task.loss(logits, self.task.taught(seen), seen), (buffers, logits)

        return jax.value_and_grad(loss_of, has_aux=True)(carry["params"])

    def _targets_of(self, frozen: Tree, inputs: Tree) -> list[jax.Array]:
        return self._teach(frozen, self.task.views(inputs)[1:])

    def _teach(self, frozen: Tree, views: Sequence[jax.Array]) -> list[jax.Array]:
        views = self.task.teacher_views(views)
        return [
            jax.lax.stop_gradient(_frozen_call(teacher, values, each))
            for teacher, values, each in zip(self.task.teachers, frozen, views, strict=True)
        ]

    def _sums_of(self, carry: Tree, frozen: Tree, inputs: Tree) -> dict[str, jax.Array]:
        (view, *others), student = self.task.eval_views(inputs), self.task.student
        logits, _ = _call(student, carry["params"], carry["buffers"], view, training=False)
        return self.task.eval_sums(logits, self.task.targets(inputs) or self._teach(frozen, others), inputs)

    def _put(self, tree: Tree) -> Tree:
        return jax.device_put(tree, self.device)


def _call(
    model: Any, params: Sequence[jax.Array], buffers: Sequence[jax.Array], view: jax.Array, training: bool
) -> tuple[jax.Array, list[jax.Array]]:
    """A model's logits with the values of its variables given, and the values of its buffers afterwards.

    Keras's own `stateless_call` leaves out `__call__`, and with it the hint by which inner layers know that they train.
    """
    trainable, others = model.trainable_variables, model.non_trainable_variables
    values = [*zip(trainable, params, strict=True), *zip(others, buffers, strict=True)]
    with keras.StatelessScope(state_mapping=values) as scope:
        logits = model(view, **mode(model, training))
    return logits, [scope.get_current_value(variable) for variable in others]


def _values(teacher: Any) -> dict[str, list[Any]]:
    """What a frozen model computes with: its standardised kernels, and all its other variables in their order."""
    kernels = standardised_kernels(teacher)
    others = [variable.value for variable in teacher.variables if id(variable) not in kernels]
    return {"kernels": list(kernels.values()), "others": others}


def _frozen_call(teacher: Any, values: Mapping[str, Sequence[jax.Array]], view: jax.Array) -> jax.Array:
    """A teacher's logits with its values given, as `_values` has them."""
    kernels = [id(layer.kernel) for layer in standardised_convolutions(teacher)]
    others = [variable for variable in teacher.variables if id(variable) not in kernels]
    mapping = zip(others, values["others"], strict=True)
    with keras.StatelessScope(state_mapping=mapping), standardised(dict(zip(kernels, values["kernels"], strict=True))):
        return teacher(view, **mode(teacher, False))


def _host(tree: Tree) -> Tree:
    """Copies in numpy: on a CPU `np.asarray` would alias a buffer that the next step donates."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def compile(
    spec: DistillSpec,
    student: Any,
    teachers: Sequence[Any],
    *,
    total_steps: int,
    device: Device | None = None,
    jit: bool | None = None,
    grad_accum_steps: int = 1,
) -> JaxTrainer:
    """Make a trainer; see `backends.base.Compile`. It compiles unless `jit` is False."""
    handle = device.handle if device else jax.local_devices()[0]
    return JaxTrainer(Task(spec, student, teachers, total_steps, grad_accum_steps), handle, jit is not False)

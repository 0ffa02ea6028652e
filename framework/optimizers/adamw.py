"""The authors' AdamW: clip -> Adam -> x lr -> + weight_decay * kernel -> x schedule -> subtract.

It is not `keras.optimizers.AdamW`: the decay follows the schedule but not the learning rate, epsilon stands outside the
root and after the bias correction, and the first moment may be stored in bfloat16 (whose decay is then b1 rounded to
bfloat16: 0.9 becomes 0.8984375). It is a pure function of arrays, because that is all that a step needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from framework.kernels import Kernel
from framework.optimizers.base import Moments, Optimizer, Scalars, Tensor, Tensors, Updated, widened
from framework.spec import OptimizerSpec
from framework.spec.schedules import Schedule


class AdamW(Optimizer):
    """See the module; `moments` are `m` and `v`, one of each for every parameter."""

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec
        self.moments = {"m": spec.moment_dtype, "v": None}

    def scalars(self, step: int, schedule: Schedule) -> dict[str, float]:
        count = step + 1
        return {
            "factor": schedule(step),
            "correction1": 1 - self.spec.b1**count,
            "correction2": 1 - self.spec.b2**count,
            "count": float(count),
        }

    def update(
        self, params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars
    ) -> Updated:
        return adamw_update(params, grads, moments, decayed, scalars, self.spec)


def stored_decay(spec: OptimizerSpec) -> float:
    """The first moment's decay as it acts on what is stored: bfloat16 keeps 8 bits of b1."""
    if spec.moment_dtype == "float32":
        return spec.b1
    import ml_dtypes

    return float(ml_dtypes.bfloat16(spec.b1))


@Kernel
def adamw_update(
    params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars, spec: OptimizerSpec
) -> Updated:
    """One update of all parameters.

    Args:
        params: the parameters.
        grads: their gradients.
        moments: `m` and `v`.
        decayed: whether each parameter decays.
        scalars: `factor`, `correction1`, `correction2`, and `count`, the number of updates with this one.
        spec: lr, weight_decay, b1, b2, epsilon and clip_norm count.

    Returns:
        New parameters, new moments, and the gradient's global norm before clipping.
    """
    grads = widened(grads)
    norm = global_norm(grads)
    clip = clip_factor(norm, spec.clip_norm)
    new_params, new_m, new_v = [], [], []
    for stored, grad, m, v, decays in zip(params, grads, moments["m"], moments["v"], decayed, strict=True):
        [param] = widened([stored])
        grad = ops.cast(grad, param.dtype) * clip
        first = stored_decay(spec) * ops.cast(m, param.dtype) + (1 - spec.b1) * grad
        second = spec.b2 * v + (1 - spec.b2) * ops.square(grad)
        change = (first / scalars["correction1"]) / (ops.sqrt(second / scalars["correction2"]) + spec.epsilon) * spec.lr
        if decays:
            change = change + spec.weight_decay * param
        new_params.append(ops.cast(param - scalars["factor"] * change, stored.dtype))
        new_m.append(ops.cast(first, m.dtype))
        new_v.append(second)
    return new_params, {"m": new_m, "v": new_v}, norm


def global_norm(grads: Tensors) -> Tensor:
    """The Euclidean norm over all gradients, a scalar."""
    return ops.sqrt(sum((ops.sum(ops.square(grad)) for grad in grads[1:]), ops.sum(ops.square(grads[0]))))


def clip_factor(norm: Tensor, largest: float | None) -> Tensor | float:
    """What gradients of this norm are multiplied by: 1 below `largest`, else largest / norm."""
    if largest is None:
        return 1.0
    return ops.where(norm < largest, ops.ones_like(norm), largest / norm)

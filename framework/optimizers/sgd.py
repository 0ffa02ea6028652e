"""SGD with momentum in the authors' chain: clip -> momentum -> x lr -> + weight_decay * kernel -> x schedule."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from framework.optimizers.adamw import clip_factor, global_norm
from framework.optimizers.base import Moments, Optimizer, Scalars, Tensors, Updated, widened
from framework.spec import OptimizerSpec
from framework.spec.schedules import Schedule


class SGD(Optimizer):
    """Heavy-ball momentum with decay `b1`; `moments` is `m`."""

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec
        self.moments = {"m": spec.moment_dtype}

    def scalars(self, step: int, schedule: Schedule) -> dict[str, float]:
        return {"factor": schedule(step)}

    def update(
        self, params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars
    ) -> Updated:
        grads = widened(grads)
        norm = global_norm(grads)
        clip = clip_factor(norm, self.spec.clip_norm)
        new_params, new_m = [], []
        for stored, grad, m, decays in zip(params, grads, moments["m"], decayed, strict=True):
            [param] = widened([stored])
            first = self.spec.b1 * ops.cast(m, param.dtype) + ops.cast(grad, param.dtype) * clip
            change = self.spec.lr * first + (self.spec.weight_decay * param if decays else 0.0)
            new_params.append(ops.cast(param - scalars["factor"] * change, stored.dtype))
            new_m.append(ops.cast(first, m.dtype))
        return new_params, {"m": new_m}, norm

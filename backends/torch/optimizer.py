"""The optimizer's update over all parameters at once: on a small net a loop over them costs a tenth of the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from framework.optimizers.adamw import stored_decay
from framework.optimizers.base import Moments, Scalars, Tensors, Updated, widened
from framework.spec import OptimizerSpec


def adamw_update(
    params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars, spec: OptimizerSpec
) -> Updated:
    """See `framework.optimizers.adamw.adamw_update`; parameters and moments are updated in place."""
    # The fused kernel divides by a factor in float32, which a float64 run must not.
    if spec.moment_dtype == "float32" and all(param.dtype == torch.float32 for param in params):
        return _fused(params, grads, moments, decayed, scalars, spec)
    stored, params = list(params), widened(params)
    grads = [grad.to(param.dtype) for grad, param in zip(grads, params, strict=True)]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    if spec.clip_norm is not None:
        # On the host the scalar costs nothing; on an accelerator it must stay there.
        grads = torch._foreach_mul(
            grads, torch.where(norm < spec.clip_norm, torch.ones_like(norm), spec.clip_norm / norm)
        )
    first = _first_moments(params, grads, moments["m"], spec)
    second = moments["v"]
    torch._foreach_mul_(second, spec.b2)
    torch._foreach_addcmul_(second, grads, grads, 1 - spec.b2)
    roots = torch._foreach_div(second, scalars["correction2"])
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, spec.epsilon)
    changes = torch._foreach_div(first, scalars["correction1"])
    torch._foreach_div_(changes, roots)
    torch._foreach_mul_(changes, spec.lr)
    kernels = [index for index, decays in enumerate(decayed) if decays]
    if kernels and spec.weight_decay:
        torch._foreach_add_([changes[i] for i in kernels], [params[i] for i in kernels], alpha=spec.weight_decay)
    torch._foreach_mul_(changes, scalars["factor"])
    torch._foreach_sub_(params, changes)
    if params[0] is not stored[0]:
        torch._foreach_copy_(stored, params)
    return stored, moments, norm


def _fused(
    params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars, spec: OptimizerSpec
) -> Updated:
    """One pass over the memory in place of seventeen, by torch's own kernel, which divides by `grad_scale` first."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads))))
    scale = None if spec.clip_norm is None else torch.clamp(norm / spec.clip_norm, min=1.0)
    for decays in (True, False):
        places = [place for place, each in enumerate(decayed) if each is decays]
        chosen = [[tensors[place] for place in places] for tensors in (params, grads, moments["m"], moments["v"])]
        torch._fused_adamw_(
            *chosen,
            [],
            [scalars["count"]] * len(places),
            lr=scalars["factor"] * spec.lr,
            beta1=spec.b1,
            beta2=spec.b2,
            # The authors' decay isn't multiplied by lr.
            weight_decay=spec.weight_decay / spec.lr if decays else 0.0,
            eps=spec.epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
            found_inf=None,
        )
    return params, moments, norm


def _first_moments(params: Tensors, grads: Tensors, stored: list[torch.Tensor], spec: OptimizerSpec) -> Tensors:
    """The new first moments as the update uses them; what is stored of them may be rounded."""
    if spec.moment_dtype == "float32":
        torch._foreach_mul_(stored, spec.b1)
        torch._foreach_add_(stored, grads, alpha=1 - spec.b1)
        return stored
    first = [m.to(param.dtype) for m, param in zip(stored, params, strict=True)]
    torch._foreach_mul_(first, stored_decay(spec))
    torch._foreach_add_(first, grads, alpha=1 - spec.b1)
    torch._foreach_copy_(stored, first)
    return first

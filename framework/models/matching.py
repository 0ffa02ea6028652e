"""Arrays under the names and in the layouts of other libraries, as a model's own parameters.

Tried where the names don't fit as they are. `stage1.norm1.weight` of PyTorch and `stage1_norm1/gamma` of Keras are
`stage1/norm1/scale`; PyTorch's kernels [O, I, h, w] and [O, I] are [h, w, I, O] and [I, O].
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

Array = np.ndarray

# What the last part of a parameter's name is here, by what it is elsewhere.
_ROLES = {
    "gamma": "scale",
    "beta": "bias",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def matched(arrays: Mapping[str, Array], wanted: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Array], list[str]]:
    """Give arrays the names of a model's parameters, where the difference is one of spelling and layout.

    Args:
        arrays: by name, of any library.
        wanted: the model's parameters: name to shape.

    Returns:
        The arrays, those that were recognised under the model's names and in its shapes; and for each of these that
        had another name, a text such as `stage1_norm1/gamma is stage1/norm1/scale`.
    """
    if set(arrays) == set(wanted):
        return dict(arrays), []
    own = {_key(name, len(shape)): name for name, shape in wanted.items()}
    found: dict[str, Array] = {}
    renamed = []
    for name, array in arrays.items():
        if name not in wanted and name.rsplit("/", 1)[-1] == "num_batches_tracked":  # a counter of PyTorch's
            continue
        target = name if name in wanted else own.get(_key(name, array.ndim), name)
        if target in found or (target != name and target in arrays):
            target = name
        # Under its own name it has its own layout.
        array = _transposed(array) if target != name and name.endswith("weight") else array
        found[target] = _shaped(array, wanted[target]) if target in wanted else array
        renamed += [f"{name} is {target}"] if target != name else []
    return found, renamed


def _key(name: str, dimensions: int) -> str:
    """A name without its spelling."""
    *path, role = re.split(r"[/.]", name)
    role = _ROLES.get(role, role)
    if role == "weight":
        # A norm's factor has one number for each channel.
        role = "kernel" if dimensions > 1 else "scale"
    return re.sub(r"\W|_", " ", " ".join((*path, role)))


def _transposed(array: Array) -> Array:
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(array.ndim)
    return array if axes is None else np.ascontiguousarray(array.transpose(axes))


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    # Ones may stand elsewhere: [C] is [1, 1, 1, C], and [h, w, C, 1] is [h, w, 1, C].
    return array.reshape(shape) if _squeezed(array.shape) == _squeezed(shape) else array


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)

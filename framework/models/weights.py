"""BiT weights from `.npz` files: both layouts that were published, renamed to our parameters. Pure numpy.

Layouts: `big_vision`, the authors' names (`block1/unit01/conv1/kernel`), perhaps below `params/` or `opt/target/`; and
`legacy`, the earlier release's (`resnet/block1/unit01/a/standardized_conv2d/kernel`). Assigning them to a model is
`framework.models.initial.assign`, which is strict.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from framework.errors import UserError
from framework.files.archives import check_size

Array = np.ndarray

PREFIXES = ("params/", "opt/target/")
# The parts a, b and c of a legacy unit are the first, second and third convolution with the norm before it.
PART = {"a": "1", "b": "2", "c": "3"}
NORM = {"gamma": "scale", "beta": "bias"}


def read(path: str | Path) -> dict[str, Array]:
    """Read a weights file in either layout, under our names.

    Args:
        path: of an `.npz` archive; nothing in it is unpickled.

    Returns:
        name to array: convolutions [h, w, I, O], norms [1, 1, 1, C], `head/kernel` [F, C], `head/bias` [C]; float32
        where the file holds float32 or bfloat16.

    Raises:
        UserError: no such file, no archive of plain arrays, or names of neither layout.
    """
    try:
        check_size(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: viewed(archive[name]) for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"weights {str(path)!r}: there is no such file") from error
    except (ValueError, OSError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"weights {str(path)!r}: not an .npz archive of plain arrays ({error})") from error
    return renamed(arrays, str(path))


def viewed(array: Array) -> Array:
    """A bfloat16 array, which numpy reads as two-byte void, as the float32 of equal value; others as they are."""
    if array.dtype != np.dtype("V2"):
        return array
    # A bfloat16 is the upper half of a float32.
    return (array.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def renamed(arrays: Mapping[str, Array], source: str = "weights") -> dict[str, Array]:
    """Bring the arrays of either layout to our names and shapes.

    Args:
        arrays: the file's names to arrays.
        source: what messages call the file.

    Raises:
        UserError: a name is of neither layout, or two arrays come to one name.
    """
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in arrays)), "")
    chosen = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    if not any(name.startswith("resnet/") for name in chosen):
        return chosen
    found: dict[str, Array] = {}
    for name, array in chosen.items():
        ours = from_legacy(name)
        if ours is None:
            raise UserError(f"{source}: {name!r} is no parameter of a BiT network in the legacy layout")
        if ours in found:
            raise UserError(f"{source}: two arrays are {ours!r}, the second is {name!r}")
        found[ours] = _shaped(ours, array)
    return found


def from_legacy(name: str) -> str | None:
    """Our name of a legacy one, or None where it has none.

    >>> from_legacy("resnet/block1/unit02/b/standardized_conv2d_17/kernel")
    'block1/unit02/conv2/kernel'
    >>> from_legacy("resnet/group_norm/gamma")
    'norm-pre-head/scale'
    """
    name = re.sub(r"(standardized_conv2d|group_norm|conv2d)_\d+/", r"\1/", name)
    fixed = {
        "resnet/root_block/standardized_conv2d/kernel": "root_block/conv_root/kernel",
        "resnet/group_norm/gamma": "norm-pre-head/scale",
        "resnet/group_norm/beta": "norm-pre-head/bias",
        "resnet/head/conv2d/kernel": "head/kernel",
        "resnet/head/conv2d/bias": "head/bias",
    }
    if name in fixed:
        return fixed[name]
    unit = re.fullmatch(r"resnet/(block\d+/unit\d+)/(.+)", name)
    if unit is None:
        return None
    place, rest = unit.groups()
    if rest == "a/proj/standardized_conv2d/kernel":
        return f"{place}/conv_proj/kernel"
    if conv := re.fullmatch(r"([abc])/standardized_conv2d/kernel", rest):
        return f"{place}/conv{PART[conv[1]]}/kernel"
    if norm := re.fullmatch(r"([abc])/group_norm/(gamma|beta)", rest):
        return f"{place}/gn{PART[norm[1]]}/{NORM[norm[2]]}"
    return None


def _shaped(name: str, array: Array) -> Array:
    if name.endswith(("/scale", "/bias")) and name != "head/bias":
        return array.reshape(1, 1, 1, -1)
    return array.reshape(array.shape[-2:]) if name == "head/kernel" else array

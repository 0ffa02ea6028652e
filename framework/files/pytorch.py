"""The tensors of a PyTorch file from before version 1.6, read without PyTorch.

Such a file is a pickle, which could run anything: only a file of a known SHA-256 is read, and of what a pickle may
name only what a dictionary of tensors needs.

Layout: four pickles (magic number, protocol, machine, the tensors by name), a pickle with the storages' keys in order,
then of each storage its length (int64) and its values, all little-endian.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from framework.errors import UserError
from framework.protocols import Array

_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path, sha256: str) -> dict[str, Array]:
    """Read a file's tensors.

    Args:
        path: the file.
        sha256: that it must have, in hexadecimal digits.

    Returns:
        The tensors by name, such as `_fc.weight`, float32 or int64.

    Raises:
        UserError: no such file, another one, or none of such a layout.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"weights {str(path)!r} can't be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(f"weights {str(path)!r}: SHA-256 {found[:16]}..., expected {sha256[:16]}...")
    file = io.BytesIO(content)
    magic, _, _, tensors, keys = (_Reader(file).load() for _ in range(5))
    if magic != _MAGIC or not isinstance(tensors, Mapping):
        raise UserError(f"weights {str(path)!r}: it holds no dictionary of PyTorch tensors")
    values = _values(file, keys, {each.storage.key: each.storage.dtype for each in tensors.values()})
    return {name: _array(tensor, values[tensor.storage.key]) for name, tensor in tensors.items()}


def _described(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


# All that the pickle of a dictionary of tensors may name.
_NAMED: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": _described,
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
}


class _Reader(pickle.Unpickler):
    """An unpickler that makes descriptions of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        found = _NAMED.get(f"{module}.{name}")
        if found is None:
            raise UserError(f"it refers to {module}.{name}, which no dictionary of tensors has")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(key, dtype)


def _values(file: io.BytesIO, keys: list[str], dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    values = {}
    for key in keys:
        length = int(np.frombuffer(file.read(8), "<i8")[0])
        values[key] = np.frombuffer(file.read(length * dtypes[key].itemsize), dtypes[key])
    return values


def _array(tensor: _Tensor, values: Array) -> Array:
    steps = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()

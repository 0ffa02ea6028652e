"""Arrays in a file that notices its own damage, and how any file is written and identified.

The layout is safetensors', so the stock library reads the files; a CRC32 of each array stands in the metadata, because
that library itself does not notice flipped bits. Writing goes to a temporary file first and is synced before it is
renamed: a crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from framework.protocols import Array

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class DamagedFile(ValueError):
    """A file that does not verify."""


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata to a file, atomically and durably.

    Args:
        path: the file; its folder must exist.
        arrays: by name; any of the usual dtypes, bfloat16 included.
        metadata: plain values, read back by `read_arrays`.

    Raises:
        TypeError: an array of objects, texts or complex numbers.
    """
    contents = {
        name: array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for name, array in arrays.items()
    }
    header: dict[str, Any] = {}
    place = 0
    for name, content in contents.items():
        span = [place, place + len(content)]
        header[name] = {"dtype": _code(arrays[name].dtype), "shape": list(arrays[name].shape), "data_offsets": span}
        place = span[1]
    values = json.dumps(dict(metadata))
    checks = json.dumps({name: zlib.crc32(content) for name, content in contents.items()})
    header["__metadata__"] = {"crc32": checks, "values": values, "header": _header_check(header, checks, values)}
    # Not as \\u escapes, in which a flipped bit can mean the same letter.
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    _replace(path, [struct.pack("<Q", len(text)), text, *contents.values()])


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_arrays` wrote, verifying all of it.

    Raises:
        DamagedFile: the file is cut short or too long, or an array's or the header's CRC32 does not match.
        FileNotFoundError: there is no such file.
    """
    content = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__")
        checks = json.loads(metadata["crc32"])
        if _header_check(header, metadata["crc32"], metadata["values"]) != metadata["header"]:
            raise DamagedFile("its header does not verify")
        body = memoryview(content)[8 + length :]
        if len(body) != max((entry["data_offsets"][1] for entry in header.values()), default=0):
            raise DamagedFile("its length is not what its header says")
        arrays = {name: _array(name, entry, body, checks[name]) for name, entry in header.items()}
        return arrays, json.loads(metadata["values"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from error


def read_foreign(path: Path) -> dict[str, Array]:
    """Read any file of safetensors' layout; one of ours is verified, others hold nothing to verify them by.

    Raises:
        DamagedFile: as `read_arrays`; or the file is cut short, or no such file at all.
        TypeError: an array is of a kind that numpy doesn't have.
        FileNotFoundError: there is no such file.
    """
    content = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        if {"crc32", "values", "header"} & set(header.pop("__metadata__", None) or {}):
            return read_arrays(path)[0]
        body = memoryview(content)[8 + length :]
        unknown = [entry["dtype"] for entry in header.values() if entry["dtype"] not in {*_DTYPES}]
        if unknown:
            raise TypeError(f"arrays of {unknown[0]} can't be read; allowed: {', '.join(_DTYPES)}")
        return {name: _plain(entry, body) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, DamagedFile) else DamagedFile(f"{path} is damaged: {error}") from error


def _plain(entry: Mapping[str, Any], body: memoryview) -> Array:
    start, stop = entry["data_offsets"]
    return np.frombuffer(body[start:stop], _dtype(entry["dtype"])).reshape(entry["shape"]).copy()


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically and durably."""
    _replace(path, [text.encode()])


def digest(path: Path, algorithm: str = "sha256") -> str:
    """A file's hash in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _replace(path: Path, parts: list[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # Not every file system lets a folder be synced; the rename is atomic all the same.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _header_check(header: Mapping[str, Any], checks: str, values: str) -> str:
    """The header is checked as well: a flipped bit in a shape or a name would load as something else."""
    return str(zlib.crc32(json.dumps([header, checks, values], sort_keys=True).encode()))


def _dtype(code: str) -> np.dtype:
    if code == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(_DTYPES[code])


def _code(dtype: np.dtype) -> str:
    for code in _DTYPES:
        if _dtype(code) == dtype.newbyteorder("<"):
            return code
    raise TypeError(f"arrays of {dtype} can't be stored; allowed: {', '.join(_DTYPES)}")


def _array(name: str, entry: Mapping[str, Any], body: memoryview, check: int) -> Array:
    start, stop = entry["data_offsets"]
    content = body[start:stop]
    if len(content) != stop - start or zlib.crc32(content) != check:
        raise DamagedFile(f"array {name!r} does not verify")
    return _plain(entry, body)

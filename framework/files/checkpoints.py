"""Arrays in a file that notices its own damage, and a folder that keeps a few of them: the last ones and the best.

The layout is safetensors', so the stock library reads the files; a CRC32 of each array stands in the metadata, because
that library itself does not notice flipped bits. Writing goes to a temporary file first and is synced before it is
renamed: a crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
BEST, BEST_STUDENT = "best.safetensors", "best_student.safetensors"

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
    contents = {name: _bytes(array) for name, array in arrays.items()}
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


class Checkpoints:
    """A folder of checkpoints, `step_<number>.safetensors`: the last few, those of round steps, and the best.

    `best.safetensors` is the best one's file under a second name, `best_student.safetensors` its student's weights.

    Args:
        folder: made when the first one is written.
        keep: how many of the last ones, at least 1.
        keep_every: those whose step is a multiple of it are kept as well; None for none.
        superseded: the folders of what this run went on from. Their last ones go when this one has `keep` of its own,
            their best ones when this one has a best: a run of many segments takes no more room than one of one.
    """

    def __init__(
        self, folder: Path, keep: int = 2, keep_every: int | None = None, superseded: Sequence[Path] = ()
    ) -> None:
        self.folder, self.keep, self.keep_every = folder, keep, keep_every
        self.superseded = [Checkpoints(other, keep, keep_every) for other in superseded]

    def save(self, state: Mapping[str, Array], metadata: Mapping[str, Any], best: bool = False) -> Path:
        """Write a trainer's state; its `step` names the file. Returns the path.

        Args:
            state: what `Trainer.state` gave.
            metadata: plain values.
            best: keep it as the best one.

        Raises:
            OSError: it can't be written; what was there before is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{int(state['step']):09d}.safetensors"
        write_arrays(path, state, metadata)
        if best:
            _link(path, self.folder / BEST)
            weights = {name.removeprefix("student/"): a for name, a in state.items() if name.startswith("student/")}
            write_arrays(self.folder / BEST_STUDENT, weights, metadata)
        self._prune()
        return path

    def paths(self) -> list[Path]:
        """The checkpoints that are there by their steps, the newest first."""
        found = self.folder.glob("step_*.safetensors") if self.folder.is_dir() else []
        steps = {int(match[1]): path for path in found if (match := re.fullmatch(r"step_(\d+)", path.stem))}
        return [steps[step] for step in sorted(steps, reverse=True)]

    def load(self) -> tuple[dict[str, Array], dict[str, Any], list[str]]:
        """The newest checkpoint that verifies; the best one when none of the others does.

        Returns:
            State, metadata, and a line on each newer one that did not verify.

        Raises:
            FileNotFoundError: there is none that verifies.
        """
        problems: list[str] = []
        best = self.folder / BEST
        for path in [*self.paths(), *([best] if best.is_file() else [])]:
            try:
                state, metadata = read_arrays(path)
                return state, metadata, problems
            except (DamagedFile, OSError) as error:
                problems.append(str(error))
        raise FileNotFoundError(f"no checkpoint in {self.folder} can be read" + "".join(f"; {p}" for p in problems))

    def _prune(self) -> None:
        passing = self._passing()
        expendable = passing[self.keep :]
        if len(passing) >= self.keep:
            expendable += [path for other in self.superseded for path in other._passing()]
        if (self.folder / BEST).exists():
            expendable += [other.folder / name for other in self.superseded for name in (BEST, BEST_STUDENT)]
        # A folder has one writer, and the segments before are dead: what is still temporary was left by a kill.
        for checkpoints in (self, *self.superseded):
            expendable += checkpoints.folder.glob(".*.tmp")
        for path in expendable:
            path.unlink(missing_ok=True)

    def _passing(self) -> list[Path]:
        """Those that are kept only while they are among the last, the newest first."""
        every = self.keep_every
        return [path for path in self.paths() if not every or int(path.stem.removeprefix("step_")) % every]


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically and durably."""
    _replace(path, [text.encode()])


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


def _link(path: Path, name: Path) -> None:
    """Give a file a second name, atomically; where the file system has no links, copy it."""
    temporary = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)


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


def _bytes(array: Array) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _array(name: str, entry: Mapping[str, Any], body: memoryview, check: int) -> Array:
    start, stop = entry["data_offsets"]
    content = body[start:stop]
    if len(content) != stop - start or zlib.crc32(content) != check:
        raise DamagedFile(f"array {name!r} does not verify")
    return np.frombuffer(content, _dtype(entry["dtype"])).reshape(entry["shape"]).copy()

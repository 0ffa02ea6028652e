"""Where a name leads: a data set of the project's own, a local folder or file, or the Hugging Face hub."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.data.folders import open_images
from framework.data.hub import load_hub
from framework.data.muted import muted
from framework.data.offline import is_offline, load_offline
from framework.data.opened import Opened
from framework.data.places import stamp, without_colons
from framework.data.trees import Parts, walk
from framework.errors import UserError, few, one_line, some
from framework.files.paths import path_of

if TYPE_CHECKING:
    from datasets import DatasetDict

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?$")
_FILE_SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".zip", ".tar", ".gz", ".npz", ".png", ".jpg")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_KINDS = "a folder of images, a parquet file or folder, or a folder made by save_to_disk"


def open_data(name: str, config: str | None, cache: Path) -> Opened:
    """Find and open a data set, nothing decoded.

    Args:
        name: `digits`, `glyphs`, a local path or glob, or a hub id; what exists locally goes before the hub.
        config: the hub data set's configuration.
        cache: where the project's own sets and the indices of local ones are kept.

    Raises:
        UserError: there is no such data set, or it can't be read.
    """
    hub = is_hub(name)
    if config is not None and not hub:
        raise UserError(f"data.config={config!r}: only hub data sets have configurations, {name!r} has none")
    if is_offline(name):
        return Opened(*load_offline(name, without_colons(cache)))
    return Opened(*load_hub(name, config)) if hub else _open_local(name, path_of(name), cache)


def is_hub(name: str) -> bool:
    """Whether a name is a hub id: none of the project's own, and nothing that is here."""
    return not (is_offline(name) or path_of(name).exists() or _looks_like_path(name))


def _looks_like_path(name: str) -> bool:
    marked = name.startswith((".", "/", "~")) or any(mark in name for mark in "*?[\\")
    return marked or name.lower().endswith(_FILE_SUFFIXES) or not _HUB_ID.match(name)


def _open_local(name: str, path: Path, cache: Path) -> Opened:
    matches = sorted(Path(match) for match in glob.glob(str(path))) if not path.exists() else [path]
    if not matches:
        raise UserError(
            f"data {name!r}: no such folder or file (looked for {path.absolute()}); give {_KINDS}, or a hub id"
        )
    if path.is_dir():
        return _open_folder(name, path, cache)
    if not all(match.suffix == ".parquet" for match in matches):
        packed = "unpack it, and " if path.suffix in _ARCHIVES else ""
        raise UserError(f"data {name!r} is not a parquet file; {packed}give {_KINDS}")
    files = [glob.escape(str(without_colons(match.parent) / match.name)) for match in matches]
    return Opened(_read(name, cache, matches, data_files={"train": files})[0])


def _open_folder(name: str, folder: Path, cache: Path) -> Opened:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return Opened(_stamped(_from_disk(name, without_colons(folder)), _state(_saved_files(folder))))
    tree = walk(folder, name)
    tables = sorted(folder.joinpath(*parts) for parts, kind in tree.others if _is_table(parts, kind))
    if not tables:
        return open_images(name, folder, tree)
    if tree.images:
        raise UserError(
            f"data {name!r}: there are {some(len(tree.images), 'image', 'images')} and {len(tables)} .parquet "
            f"({few(path.name for path in tables)}) in this folder, and either may be the data: give the file, or a "
            "folder with one kind alone"
        )
    tree.others = [(parts, kind) for parts, kind in tree.others if not _is_table(parts, kind)]
    loaded, used = _read(name, cache, tables, data_dir=str(without_colons(folder)))
    left_out = filter(None, (_unread(tables, used), tree.left_out()))
    return Opened(loaded, _as_one(name, loaded, tables), ", ".join(left_out))


def _is_table(parts: Parts, kind: str) -> bool:
    return kind == ".parquet" and parts[-1] != "metadata.parquet"


def _state(files: Iterable[Path]) -> str:
    return hashlib.sha256("".join(map(stamp, files)).encode()).hexdigest()[:16]


def _stamped(loaded: DatasetDict, state: str) -> DatasetDict:
    """The splits, named after the state of their files: for `datasets`, a changed file with its old time is the old."""
    for split, dataset in loaded.items():
        dataset._fingerprint = f"{split} {state}"
    return loaded


def _saved_files(folder: Path) -> list[Path]:
    """What `save_to_disk` wrote, without what `datasets` adds to it later."""
    return sorted(path for path in folder.rglob("*.*") if not path.name.startswith("cache-"))


def _from_disk(name: str, folder: Path) -> DatasetDict:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except IndexError as error:  # what `datasets` makes of a split without rows
        raise UserError(f"data {name!r} can't be read: a split is empty") from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"data {name!r} can't be read: {type(error).__name__}: {one_line(error)}") from error
    if isinstance(loaded, datasets.DatasetDict):
        return loaded
    split = str(loaded.split or "train")
    return datasets.DatasetDict({split if re.fullmatch(r"\w+", split) else "train": loaded})


def _as_one(name: str, loaded: DatasetDict, tables: Sequence[Path]) -> tuple[str, ...]:
    """A note where files of several names are one split, because none of them says which it is."""
    kinds = {re.sub(r"\d+|[-_.]of[-_.]", "", path.stem): path.name for path in tables}
    if len(kinds) == 1 or list(loaded) != ["train"] or any("train" in re.split(r"[\W\d_]+", kind) for kind in kinds):
        return ()
    return (f"{name}: no file's name says a split, so {few(kinds.values())} are all trained on",)


def _unread(tables: Iterable[Path], used: Set[str]) -> str:
    """The files that belong to no split, in words."""
    left = [path.name for path in tables if os.path.realpath(path) not in used]
    return f"{len(left)} .parquet whose names say no split ({few(left)})" if left else ""


def _num_rows(name: str, file: Path) -> int:
    """Refuse what is not a parquet file by its own name, which `datasets` would not say."""
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"data {name!r}: {file} can't be read as parquet: {one_line(error)}") from error


def _read(name: str, cache: Path, files: Sequence[Path], **options: Any) -> tuple[DatasetDict, Set[str]]:
    """The splits, and the real paths of the files that are in them."""
    import datasets
    from pyarrow.lib import ArrowException

    num_rows = [_num_rows(name, file) for file in files]
    if files and not any(num_rows):
        raise UserError(f"data {name!r}: a split is empty")
    state = _state(files)
    kept = without_colons(cache) / "huggingface" / state
    failures = (OSError, ValueError, ArrowException, datasets.exceptions.DatasetsError)
    with muted(bars=True):
        try:
            builder = datasets.load_dataset_builder("parquet", cache_dir=str(kept), **options)
            builder.download_and_prepare()
            used = {os.path.realpath(path) for paths in builder.config.data_files.values() for path in paths}
            return _stamped(builder.as_dataset(), state), used
        except failures as error:
            cause = error.__cause__ or error
            problem = "a split is empty" if "no data" in str(error) else f"{type(cause).__name__}: {one_line(cause)}"
            raise UserError(f"data {name!r} can't be read as parquet: {problem}") from error

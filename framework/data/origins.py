"""Where a name leads: a data set of the project's own, a local folder or file, or the Hugging Face hub."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.data.hub import load_hub
from framework.data.offline import OFFLINE, load_offline
from framework.data.quiet import quiet
from framework.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetDict

# Folder names that are splits, as `datasets` knows them.
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?$")
_FILE_SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".zip", ".tar", ".gz", ".npz", ".png", ".jpg")
_KINDS = "a folder of images, a parquet file or folder, or a folder made by save_to_disk"


def open_data(name: str, config: str | None, cache: Path) -> tuple[DatasetDict, tuple[str, ...]]:
    """Find and open a data set, nothing decoded.

    Args:
        name: `digits`, `glyphs`, a local path or glob, or a hub id; what exists locally goes before the hub.
        config: the hub data set's configuration.
        cache: where the project's own sets and the indices of local ones are kept.

    Returns:
        Its splits, and notes for the user.

    Raises:
        UserError: there is no such data set, or it can't be read.
    """
    hub = is_hub(name)
    if config is not None and not hub:
        raise UserError(f"data.config={config!r}: only hub data sets have configurations, {name!r} has none")
    if name in OFFLINE:
        return load_offline(name, cache)
    return load_hub(name, config) if hub else (_open_local(name, Path(name).expanduser(), cache), ())


def is_hub(name: str) -> bool:
    """Whether a name is a hub id: none of the project's own, and nothing local."""
    return name not in OFFLINE and not Path(name).expanduser().exists() and not _looks_like_path(name)


def _looks_like_path(name: str) -> bool:
    marked = name.startswith((".", "/", "~")) or any(mark in name for mark in "*?[\\")
    return marked or name.lower().endswith(_FILE_SUFFIXES) or not _HUB_ID.match(name)


def _open_local(name: str, path: Path, cache: Path) -> DatasetDict:
    matches = sorted(Path(match) for match in glob.glob(str(path))) if not path.exists() else [path]
    if not matches:
        raise UserError(
            f"data {name!r}: no such folder or file (looked for {path.absolute()}); give {_KINDS}, or a hub id"
        )
    if path.is_dir():
        return _open_folder(name, path, cache)
    if not all(match.suffix == ".parquet" for match in matches):
        raise UserError(f"data {name!r} is no parquet file; give {_KINDS}")
    return _read(name, cache, "parquet", data_files={"train": [glob.escape(str(match)) for match in matches]})


def _open_folder(name: str, folder: Path, cache: Path) -> DatasetDict:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return _from_disk(name, folder)
    if next(folder.rglob("*.parquet"), None) is not None:
        return _read(name, cache, "parquet", data_dir=str(folder))
    return _image_folder(name, folder, cache)


def _from_disk(name: str, folder: Path) -> DatasetDict:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except IndexError as error:  # what `datasets` makes of a split without rows
        raise UserError(f"data {name!r} can't be read: a split is empty") from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"data {name!r} can't be read: {_line(error)}") from error
    if isinstance(loaded, datasets.DatasetDict):
        return loaded
    split = str(loaded.split or "train")
    return datasets.DatasetDict({split if re.fullmatch(r"\w+", split) else "train": loaded})


def _image_folder(name: str, folder: Path, cache: Path) -> DatasetDict:
    """Files are told apart by folders alone: `datasets` would take `cats/test_1.jpg` for a test split."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    images = [file for file in folder.rglob("*") if file.suffix.lower() in ImageFolder.EXTENSIONS]
    if not images:
        raise UserError(f"data {name!r}: no images in this folder; give {_KINDS}")
    splits = _split_folders(folder)
    depth = 2 if splits else 1
    has_metadata = any(next(folder.rglob(f"metadata.{kind}"), None) for kind in ("csv", "jsonl", "parquet"))
    in_classes = any(len(file.relative_to(folder).parts) > depth for file in images)
    options: dict[str, Any] = {} if has_metadata else {"drop_labels": not in_classes}
    files = {split: f"{glob.escape(str(sub))}/**" for split, sub in (splits or {"train": folder}).items()}
    return _read(name, cache, "imagefolder", data_files=files, **options)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The subfolders as splits where one is for training or all have split names; else none: they are classes."""
    folders = [sub for sub in sorted(folder.iterdir()) if sub.is_dir() and not sub.name.startswith(".")]
    known = [SPLIT_FOLDERS.get(sub.name.lower()) for sub in folders]
    if not folders or not ("train" in known or all(known)):
        return {}
    return {split or re.sub(r"\W", "_", sub.name): sub for split, sub in zip(known, folders, strict=True)}


def _read(name: str, cache: Path, kind: str, **options: Any) -> DatasetDict:
    import datasets
    from pyarrow.lib import ArrowException

    failures = (OSError, ValueError, ArrowException, datasets.exceptions.DatasetsError)
    with quiet(bars=True):
        try:
            return datasets.load_dataset(kind, cache_dir=str(cache / "huggingface"), **options)
        except failures as error:
            problem = "a split is empty" if "no data" in str(error) else _line(error.__cause__ or error)
            raise UserError(f"data {name!r} can't be read as {kind}: {problem}") from error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

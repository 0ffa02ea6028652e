"""`metadata.csv`, `.jsonl` or `.parquet` in an image folder: a line for each image, named by its `file_name`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from framework.data.trees import Parts, Tree
from framework.errors import UserError, few, one_line, some

_COLUMN = "file_name"
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")


def read(name: str, folders: Iterable[Path], tree: Tree) -> Any:
    """The first table there is in some folders, as a pandas frame with paths in `file_name`; None where there is none.

    Raises:
        UserError: it can't be read.
    """
    import pandas
    from pyarrow.lib import ArrowException

    readers = {
        "metadata.csv": _read_csv,
        "metadata.jsonl": lambda path: pandas.read_json(path, lines=True, dtype=False),
        "metadata.parquet": pandas.read_parquet,
    }
    for path in (folder / each for folder in folders for each in readers):
        if not path.is_file():
            continue
        try:
            table = readers[path.name](path)
        except (OSError, ValueError, ArrowException) as error:
            raise UserError(f"data {name!r}: {path} can't be read: {one_line(error, 200)}") from error
        if _COLUMN not in table.columns:
            tree.others = [each for each in tree.others if each[0][-1] != path.name]
            tree.reasons[f"{path.name} without a column {_COLUMN!r}"] = 1
        else:
            tree.others = [each for each in tree.others if each[0][-1] not in readers]
            # Windows writes `cat\\0.png`.
            names = [str(each).replace("\\", "/") for each in table[_COLUMN]]
            return table.assign(**{_COLUMN: [str(path.parent / each) for each in names]})
    return None


def _read_csv(path: Path) -> Any:
    """A table of words, of numbers where all are whole, and of None; by itself pandas drops a class called NA."""
    import pandas

    table = pandas.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    return pandas.DataFrame({str(name).strip(): _typed(table[name]) for name in table.columns}, dtype=object)


def _typed(words: Iterable[Any]) -> list[int | str | None]:
    stripped = [str(word).strip() for word in words]
    is_whole = all(_INTEGER.fullmatch(word) for word in stripped if word)
    return [(int(word) if is_whole else word) if word else None for word in stripped]


def against_folders(name: str, images: Sequence[Parts], labels: Sequence[Any]) -> list[str]:
    """A note where the images lie in folders that are called like labels, but not like their own."""
    pairs = [(parts[0], str(label)) for parts, label in zip(images, labels, strict=False) if len(parts) > 1]
    others = sum(folder != label for folder, label in pairs)
    if not others or not {folder for folder, _ in pairs} <= {label for _, label in pairs}:
        return []
    told = some(others, "image lies", "images lie")
    return [f"{name}: labels are those of the metadata; {told} in the folder of another class"]


def rows(
    name: str, root: Path, images: list[Parts], table: Any, tree: Tree
) -> tuple[list[Parts], dict[str, list[Any]]]:
    """The images that a table names, in its order, and its other columns.

    Raises:
        UserError: it names an image that is not there.
    """
    there = {str(root.joinpath(*parts)): parts for parts in images}
    mine = table[[path.startswith(f"{root}/") for path in table[_COLUMN]]]
    missing = [path for path in mine[_COLUMN] if path not in there]
    if missing:
        raise UserError(f"data {name!r}: its metadata name images that are not there: {few(missing, 1)}")
    tree.reasons["images without a line in the metadata"] += len(there) - len(set(mine[_COLUMN]))
    others = mine.drop(columns=[_COLUMN]).astype(object)
    plain = others.where(others.notna(), None)
    return [there[path] for path in mine[_COLUMN]], {str(column): plain[column].tolist() for column in plain.columns}

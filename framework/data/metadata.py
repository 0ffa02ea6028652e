"""`metadata.csv`, `.jsonl` or `.parquet` in an image folder: a line for each image, named by its `file_name`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from framework.data.trees import Parts, Tree, few
from framework.errors import UserError, one_line

_COLUMN = "file_name"


def read(name: str, folders: Iterable[Path], tree: Tree) -> Any:
    """The first table there is in some folders, as a pandas frame with paths in `file_name`; None where there is none.

    Raises:
        UserError: it can't be read.
    """
    import pandas
    from pyarrow.lib import ArrowException

    readers = {
        "metadata.csv": pandas.read_csv,
        "metadata.jsonl": lambda path: pandas.read_json(path, lines=True),
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
            return table.assign(**{_COLUMN: [str(path.parent / str(each)) for each in table[_COLUMN]]})
    return None


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
    unnamed = len(there) - len(set(mine[_COLUMN]))
    if unnamed:
        tree.reasons["images without a line in the metadata"] += unnamed
    others = mine.drop(columns=[_COLUMN]).astype(object)
    plain = others.where(others.notna(), None)
    return [there[path] for path in mine[_COLUMN]], {str(column): plain[column].tolist() for column in plain.columns}

"""An image folder as splits and classes: a class is the first folder below the split, and what is ambiguous is refused.

`datasets` reads such folders too, but drops links and unknown suffixes, merges nested folders and takes a flat test
folder for a class, all without a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.data import metadata
from framework.data.classes import one_form
from framework.data.opened import Opened
from framework.data.trees import PICTURES, Parts, Tree, option
from framework.errors import UserError, few, some

if TYPE_CHECKING:
    from datasets import Dataset

# Folder names that are splits.
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_FILLERS = ("set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "split", "folder")


def open_images(name: str, folder: Path, tree: Tree) -> Opened:
    """Open an image folder.

    Args:
        name: the folder as the user gave it, for messages.
        folder: where it is.
        tree: what lies below it.

    Returns:
        For each split the columns `image` and `label` (the class folder's name), and those of its `metadata.csv`,
        `.jsonl` or `.parquet`.

    Raises:
        UserError: it has no images, or its folders may be meant in more than one way.
    """
    from datasets import DatasetDict

    folder = folder.absolute()
    if not tree.images:
        others = f" ({tree.left_out()})" if tree.left_out() else ""
        raise UserError(f"data {name!r}: no images in this folder{others}; give a folder with one folder a class")
    splits = _splits(name, tree)
    trees = {split: tree.below(sub) for split, sub in splits.items()} or {"train": tree}
    roots = {split: folder / sub for split, sub in splits.items()} or {"train": folder}
    if splits:
        tree.reasons["images beside the split folders"] += sum(len(parts) == 1 for parts in tree.images)
    for split in [split for split, part in trees.items() if not part.images]:
        tree.reasons[f"folder without images ({splits[split]!r})"] += 1
        del trees[split]
    tables = {split: metadata.read(name, (roots[split], folder), tree) for split in trees}
    notes: list[str] = []
    read = {
        split: _dataset(roots[split], part.images, tables[split], name, tree, notes) for split, part in trees.items()
    }
    bare = [split for split in trees if tables[split] is None]
    flat = frozenset(split for split in bare if all(len(parts) == 1 for parts in trees[split].images))
    found = {split: _problem(trees[split], roots[split], f"{name}/{splits.get(split, '')}", tree) for split in bare}
    problems = {split: f"data {name!r}{each}" for split, each in found.items() if each and split not in flat}
    unlabelled = flat if len(flat) < len(read) else frozenset()
    return Opened(DatasetDict(read), tuple(notes), left_out=tree.left_out(), unlabelled=unlabelled, problems=problems)


# Splits


def _splits(name: str, tree: Tree) -> dict[str, str]:
    """The folder of each split; none where the folders are classes.

    Raises:
        UserError: they may be either.
    """
    known = {sub: SPLIT_FOLDERS.get(sub.lower()) for sub in tree.top}
    called = [sub for sub in known if known[sub]]
    if not called:
        _refuse_look_alikes(name, [sub for sub in known if tree.below(sub).images])
        return {}
    others = [sub for sub in known if not known[sub] and tree.below(sub).images]
    training = [sub for sub in called if known[sub] == "train"]
    flat = any(len(parts) == 1 for sub in training for parts in tree.below(sub).images)
    if others and (not training or flat):
        raise UserError(
            f"data {name!r}: the folder {few(called)} is named like a split, and {few(others)} beside it look like "
            "classes: put the class folders into a folder 'train', or rename what is a class"
        )
    found: dict[str, str] = {}
    for sub in known:
        split = known[sub] or re.sub(r"\W", "_", sub)
        if split in found:
            raise UserError(f"data {name!r}: {found[split]!r} and {sub!r} both mean the split {split!r}: rename one")
        found[split] = sub
    return found


def _refuse_look_alikes(name: str, folders: list[str]) -> None:
    alike: dict[Parts, dict[str, str]] = {}  # by what else is in the name: role -> folder
    for sub in folders:
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", sub)]
        words = [re.sub(r"(?<=.)(set|data|images|imgs)$", "", word) if word not in _FILLERS else "" for word in words]
        roles = [SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS]
        rest = tuple(word for word in words if word and word not in SPLIT_FOLDERS)
        if roles:
            alike.setdefault(rest, {})[roles[0]] = sub
    # `test images` is no class; `bullet train` is one, unless there is a `bullet test` beside it.
    suspects = [roles[role] for rest, roles in alike.items() for role in sorted(roles) if not rest or len(roles) > 1]
    suspects.sort(key=lambda sub: "train" not in sub.lower())
    if suspects:
        raise UserError(
            f"data {name!r}: the folders {few(suspects)} look like splits, not like classes: call them train, "
            f"validation and test, or give one of them, {option(name, suspects[0])}"
        )


# Classes


def _problem(part: Tree, root: Path, name: str, tree: Tree) -> str | None:
    """Why the class folders of a split can't be trusted; None where they can. Folders that are no class are counted."""
    by_class = _by_class(part.images)
    return (
        _empty_classes(part, by_class, tree)
        or _alike(by_class)
        or _misnamed(by_class, root, name)
        or _mixed_depths(part.images, by_class)
        or _nested(by_class, name)
    )


def _by_class(images: Iterable[Parts]) -> dict[str, set[Parts]]:
    """The folders below each class folder that hold its images; () is the class folder itself."""
    found: dict[str, set[Parts]] = {}
    for parts in images:
        if len(parts) > 1:
            found.setdefault(parts[0], set()).add(parts[1:-1])
    return found


def _empty_classes(part: Tree, by_class: Mapping[str, Any], tree: Tree) -> str | None:
    for sub in part.top:
        if sub in by_class:
            continue
        kinds = {kind for parts, kind in part.others if parts[0] == sub and len(parts) > 1}
        unread = sorted((kind or "files without a suffix") for kind in kinds if kind in PICTURES)
        if unread:
            return f": the class folder {sub!r} has no image that can be read, only {', '.join(unread)}: convert them"
        if not kinds:
            return f": the class folder {sub!r} is empty: fill or remove it"
        tree.reasons[f"folder without images ({sub!r})"] += 1
    return None


def _alike(by_class: Iterable[str]) -> str | None:
    forms: dict[str, str] = {}
    for sub in by_class:
        if forms.setdefault(one_form(sub), sub) != sub:
            return f": two class folders are called {sub!r}, in two Unicode forms (NFC, NFD): make them one"
    return None


def _misnamed(by_class: Mapping[str, set[Parts]], root: Path, name: str) -> str | None:
    for sub, folders in by_class.items():
        if any(each.lower() in SPLIT_FOLDERS for folder in folders for each in folder):
            return f": {sub!r} has a split folder in it and is not a class; give one data set, {option(name, sub)}"
        if sub.lower() in SPLIT_FOLDERS or sub.casefold() == root.name.casefold():
            what = "a split" if sub.lower() in SPLIT_FOLDERS else "the data folder itself"
            return f": a class is called {sub!r}, like {what}; give {option(name, sub)}, or rename it if it is a class"
    return None


def _mixed_depths(images: Iterable[Parts], by_class: Mapping[str, set[Parts]]) -> str | None:
    beside = ["/".join(parts) for parts in images if len(parts) == 1]
    if beside:
        return (
            f": {some(len(beside), 'image lies', 'images lie')} beside the class folders ({few(beside)}): which class?"
        )
    depths: dict[int, str] = {}
    for sub, folders in by_class.items():
        for folder in sorted(folders):
            depths.setdefault(len(folder), "/".join((sub, *folder)))
    if len(depths) > 1:
        return (
            f": images lie at several depths ({few(depths.values())}): make one folder a class, without folders in it"
        )
    return None


def _nested(by_class: Mapping[str, set[Parts]], name: str) -> str | None:
    below = set().union(*by_class.values())
    if below == {()}:
        return None
    if len(by_class) == 1:
        only = next(iter(by_class))
        return f": one class only, {only!r}; give the folder that has the class folders in it, {option(name, only)}"
    if len(below) > 1:
        first = next(sub for sub in by_class if by_class[sub] != {()})
        shown = ("/".join((first, *folder)) for folder in sorted(by_class[first]))
        return f": folders lie in the class folders ({few(shown)}), and may be classes: make one folder a class"
    return None


# Columns


def _dataset(root: Path, images: list[Parts], table: Any, name: str, tree: Tree, notes: list[str]) -> Dataset:
    from datasets import Dataset, Features, Image, Value

    columns: dict[str, list[Any]] = {}
    if table is not None:
        images, columns = metadata.rows(name, root, images, table, tree)
        notes += metadata.against_folders(name, images, columns.get("label", ()))
    features = dict(Dataset.from_dict(columns).features)
    columns["image"] = [{"bytes": None, "path": os.path.join(root, *parts)} for parts in images]
    features["image"] = Image()
    if "label" not in columns and any(len(parts) > 1 for parts in images):
        columns["label"] = [parts[0] if len(parts) > 1 else None for parts in images]
        features["label"] = Value("string")
    made = Dataset.from_dict(columns, Features(features))
    made._fingerprint = "image-folder"  # the rows' key has each file's path, size and times
    return made

"""Which columns hold images and labels, found by their types; wrong names are errors that list what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.errors import UserError, near

LABEL_NAMES = ("label", "labels", "fine_label")
_FOLDERS = "; of image files, each class needs a folder, or each file a line (file_name,label) in metadata.csv"
IMAGE_NAMES = ("image", "img", "images")


def find_image(features: Mapping[str, Any], wanted: str | None, where: str) -> str:
    """The image column.

    Args:
        features: the split's columns with their `datasets` features.
        wanted: the user's column, or None to find it.
        where: data set and split, for messages.

    Raises:
        UserError: the column is not there, holds no images, or several could be meant.
    """
    if wanted is not None:
        _require(features, wanted, where, "data.image")
        if not _holds_images(features[wanted], named=True):
            raise UserError(f"{where}: column {wanted!r} holds no images ({describe({wanted: features[wanted]})})")
        return wanted
    found = [name for name, feature in features.items() if _holds_images(feature, named=name in IMAGE_NAMES)]
    if len(found) != 1:
        count = "several image columns" if found else "no image column"
        names = ", ".join(found) if found else describe(features)
        raise UserError(f"{where}: {count} among {names}; data.image= names it")
    return found[0]


def find_labels(features: Mapping[str, Any], wanted: str | None, where: str) -> str | None:
    """The label column, or None where `wanted` is None; "auto" finds it.

    Raises:
        UserError: the column is not there, or none or several could be meant.
    """
    if wanted is None:
        return None
    if wanted != "auto":
        _require(features, wanted, where, "data.labels")
        return wanted
    found = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    candidates = found if len(found) == 1 else [name for name in LABEL_NAMES if name in (found or features)]
    if not candidates:
        several = f" (class labels: {', '.join(found)})" if found else ""
        raise UserError(
            f"{where}: no label column found{several} among {describe(features)}; data.labels= names it, "
            f"data.labels=null trains without{_FOLDERS if len(features) == 1 else ''}"
        )
    return candidates[0]


def describe(features: Mapping[str, Any]) -> str:
    """The columns with their types, for messages."""
    return ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())


def _require(features: Mapping[str, Any], name: str, where: str, option: str) -> None:
    if name not in features:
        raise UserError(f"{where}: no column {name!r} ({option}): {near(name, features)}")


def _holds_images(feature: Any, named: bool) -> bool:
    """An Image feature or a struct of bytes and path; bytes or paths alone only under a name that says so."""
    if isinstance(feature, Mapping):
        return set(feature) == {"bytes", "path"}
    return _kind(feature) == "Image" or (named and _kind(feature) in ("binary", "large_binary", "string"))


def _kind(feature: Any) -> str:
    if isinstance(feature, Mapping):
        return "{" + ", ".join(feature) + "}"
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name

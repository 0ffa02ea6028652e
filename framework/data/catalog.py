"""Data sets known by their hub id: which splits and columns to take, and what to expect in them.

Where the paper slices by percentage the split is put into a fixed stratified order first, so that every class is in
every slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.data.classes import unknown
from framework.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One known data set.

    Attributes:
        train, validation, test: the split expressions to take where the user names none.
        image, labels: its columns.
        num_classes: how many classes it has.
        sizes: the rows of each of its splits.
        note: what to know before using it.
        order: its class names, a key of `framework.data.classes.ORDERS`; None where they are not kept here.
    """

    train: str
    validation: str
    test: str
    image: str
    labels: str
    num_classes: int
    sizes: tuple[tuple[str, int], ...]
    note: str = ""
    order: str | None = None


CATALOG: dict[str, Entry] = {
    "dpdl-benchmark/oxford_flowers102": Entry(
        *("train", "validation", "test", "image", "label", 102),
        sizes=(("train", 1020), ("validation", 1020), ("test", 6149)),
        order="flowers",
    ),
    "timm/oxford-iiit-pet": Entry(
        *("stratified(train)[:90%]", "stratified(train)[90%:]", "test", "image", "label", 37),
        sizes=(("train", 3680), ("test", 3669)),
        order="pet",
    ),
    "ethz/food101": Entry(
        *("stratified(train)[:90%]", "stratified(train)[90%:]", "validation", "image", "label", 101),
        sizes=(("train", 75750), ("validation", 25250)),
        order="food",
    ),
    "dpdl-benchmark/sun397": Entry(
        *("train", "validation", "test", "image", "label", 397),
        sizes=(("train", 76128), ("validation", 10875), ("test", 21750)),
        order="sun",
    ),
    "ILSVRC/imagenet-1k": Entry(
        *("stratified(train)[:98%]", "stratified(train)[98%:]", "validation", "image", "label", 1000),
        sizes=(("train", 1281167), ("validation", 50000), ("test", 100000)),
        note="gated: accept its terms on the hub and log in with `hf auth login`; its own test split has no labels",
        order="imagenet",
    ),
    "uoft-cs/cifar10": Entry(
        *("stratified(train)[:90%]", "stratified(train)[90%:]", "test", "img", "label", 10),
        sizes=(("train", 50000), ("test", 10000)),
    ),
    "uoft-cs/cifar100": Entry(
        *("stratified(train)[:90%]", "stratified(train)[90%:]", "test", "img", "fine_label", 100),
        sizes=(("train", 50000), ("test", 10000)),
    ),
    "zalando-datasets/fashion_mnist": Entry(
        *("stratified(train)[:90%]", "stratified(train)[90%:]", "test", "image", "label", 10),
        sizes=(("train", 60000), ("test", 10000)),
    ),
}

# Look-alikes on the hub whose splits are others than the paper's.
INSTEAD = {
    "nelorth/oxford-flowers": "dpdl-benchmark/oxford_flowers102",
    "tanganke/sun397": "dpdl-benchmark/sun397",
}


def check_entry(name: str, sizes: Mapping[str, int], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Hold what was loaded against what is known of it.

    Args:
        name: the data set; unknown names pass.
        sizes: rows by split.
        classes: the class names that were found, None without labels.

    Returns:
        Notes on splits of another size and on other names.

    Raises:
        UserError: the number of classes is another one.
    """
    if name in INSTEAD:
        return (f"{name} has other splits than the paper's data; {INSTEAD[name]} has the paper's",)
    entry = CATALOG.get(name)
    if entry is None:
        return ()
    if classes is not None and len(classes) != entry.num_classes:
        raise UserError(f"data {name!r} has {len(classes)} classes where {entry.num_classes} are known: is it a copy?")
    notes = [
        f"{name}: split {split!r} has {sizes[split]} rows where {known} are known"
        for split, known in entry.sizes
        if sizes.get(split, known) != known
    ]
    if entry.order and (other := unknown(classes or (), entry.order)):
        notes.append(f"{name}: {len(other)} class names are not the known ones, e.g. {other[0]!r}")
    return tuple(notes)

"""What a distillation sees: the data, and the views that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from framework.errors import UserError
from framework.spec.validation import check

_LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the examples come from.

    Attributes:
        name: `digits` or `glyphs` (both need no network), a Hugging Face hub id, a folder of images (one folder a
            class), a parquet file or a `save_to_disk` folder.
        config: the configuration (subset) of a hub data set; None where it has only one.
        train: the split to train on; slices are allowed: `train[:90%]` has every class in its share (so has
            `stratified(train)`), `plain(train)[:90%]` is the first part of the files, `train[100:600]` counts rows.
        validation: the split on which the best checkpoint is chosen; slices are allowed; None for none. Where data of
            your own have no such split, a tenth of the training images (of each class) is held out for it.
        test: the split that is measured at the end; slices are allowed; None for none.
        image: the column with the images; None finds it by its type.
        labels: the column with the labels; `auto` finds it by its type; None distils without labels.
        on_bad_image: what to do with an image that cannot be read: `error` ends the run, `skip` takes a readable
            neighbour in its place.
        missing_classes: what to do where a class has no training image: `error` ends the run, `allow` trains without.
        train_from: another data set to train on, named as `name` is, without its labels: out-of-domain images (paper,
            figure 6). `train` is then a split of it; validation, test and the classes stay those of `name`. None trains
            on `name` itself.
    """

    name: str = "glyphs"
    config: str | None = None
    train: str = "train"
    validation: str | None = "validation"
    test: str | None = "test"
    image: str | None = None
    labels: str | None = "auto"
    on_bad_image: Literal["error", "skip"] = "error"
    missing_classes: Literal["error", "allow"] = "error"
    train_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class ViewsSpec:
    """How views are made: crop, flip, mixing (paper, section 3.1.1).

    Attributes:
        size: height and width in pixels of the student's view, and of the teachers' unless `teacher_size` is given; 1
            to 4096.
        area: smallest and largest share of the image's area that a crop covers; 0 < smallest <= largest <= 1.
        aspect: smallest and largest width / height of a crop; 0 < smallest <= largest.
        flip: mirror half of the views left to right.
        mixup: p of Beta(p, p), from which the mixing factor is drawn, 0 or more; 0 mixes nothing; None is what the
            teaching says: 1 for `funmatch`, else 0.
        truncate: round crops down to whole grey levels, as the authors' code does.
        augmentations: what else is done to a view, in this order: `brightness`, `grayscale`, or your own function
            `package.module:function` of (views, uniforms) that returns views.
        teacher_size: height and width in pixels of the teachers' view, for the same crop, flip and mixing partner: a
            number, or one for each teacher, `[384,224]`; None is `size`.
        resize: side in pixels of the square that `rc` and `cc` crops are cut out of, `size` or more; None is 5/4 of
            `size`, as 160 for 128.
        target_crops: crops over which each target of `fix/ic_ens` is the mean, 1 or more; computed once and kept.
    """

    size: int = 24
    area: tuple[float, float] = (0.05, 1.0)
    aspect: tuple[float, float] = (0.75, 1.33)
    flip: bool = True
    mixup: float | None = None
    truncate: bool = True
    augmentations: tuple[str, ...] = ()
    teacher_size: int | tuple[int, ...] | None = None
    resize: int | None = None
    target_crops: int = 1000

    def __post_init__(self) -> None:
        check(1 <= self.size <= _LARGEST, "views.size", self.size, f"1 to {_LARGEST} pixels")
        given, least, side = self.teacher_size, self.size, self.resize
        for size in given if isinstance(given, tuple) else (given,):
            check(size is None or 1 <= size <= _LARGEST, "views.teacher_size", given, f"1 to {_LARGEST} pixels")
        check(side is None or least <= side <= 2 * _LARGEST, "views.resize", side, f"views.size = {least} or more")
        check(self.target_crops >= 1, "views.target_crops", self.target_crops, "1 or more")
        check(0 < self.area[0] <= self.area[1] <= 1, "views.area", self.area, "0 < smallest <= largest <= 1")
        check(0 < self.aspect[0] <= self.aspect[1], "views.aspect", self.aspect, "0 < smallest <= largest")
        check(self.mixup is None or self.mixup >= 0, "views.mixup", self.mixup, "0 or more")

    @property
    def square(self) -> int:
        """Side in pixels of the square that mild and central crops are cut out of."""
        return self.resize or round(1.25 * self.size)

    def teacher_sizes(self, count: int) -> tuple[int, ...]:
        """The size of the view of each of `count` teachers, in pixels.

        Raises:
            UserError: the sizes that are listed are another number.
        """
        given = self.teacher_size
        sizes = given if isinstance(given, tuple) else (given or self.size,) * count
        if len(sizes) != count:
            listed = list(sizes)
            raise UserError(f"views.teacher_size = {listed}: expected one number, or one for each of {count} teachers")
        return sizes

"""The contact sheet: of each step a few pairs, with their crops on the originals, and what was mixed with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.sheets.seen import Step, expected, verdict
from framework.errors import UserError
from framework.protocols import Array, Source, ViewDraws
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In inches.
_CELL, _GAP, _TEXT, _HEAD, _TITLE, _MARGIN = 1.3, 0.14, 3.7, 0.42, 0.95, 0.2
# Of Okabe and Ito's colours, which the colour-blind tell apart; the teachers' line is dashed as well.
_STUDENT, _TEACHER, _INK = "#d55e00", "#0072b2", "#222222"
_THUMBNAIL = 320  # pixels
_DPI = 110


@dataclass(frozen=True)
class Sheet:
    """What is drawn.

    Attributes:
        spec: the distillation.
        source: the training split.
        steps: what was seen.
        examples: how many of each step are drawn, from the first.
    """

    spec: DistillSpec
    source: Source
    steps: Sequence[Step]
    examples: int

    @property
    def who(self) -> list[str]:
        """Whose view each is."""
        count, sizes = len(self.steps[0].views) - 1, self.spec.teacher_sizes
        names = ["teacher"] if count == 1 else [f"teacher {place}" for place in range(1, count + 1)]
        taught = [f"{name}, {size} px" for name, size in zip(names, sizes, strict=False)]
        return [f"student, {self.spec.views.size} px", *taught]

    @property
    def taught(self) -> bool:
        """Whether teachers see views of a step."""
        return len(self.steps[0].views) > 1

    @property
    def mixed(self) -> bool:
        """Whether views are mixed."""
        return self.spec.scheme.mixup > 0

    @property
    def columns(self) -> list[str]:
        return ["image", *(["mixed with"] if self.mixed else []), *self.who]


def draw(sheet: Sheet, path: Path) -> None:
    """Draw a sheet.

    Args:
        sheet: what.
        path: the picture; its suffix says in which format.

    Raises:
        UserError: the file can't be written, or not in this format.
    """
    from matplotlib.figure import Figure

    block = _HEAD + sheet.examples * (_CELL + _GAP)
    width = 2 * _MARGIN + len(sheet.columns) * (_CELL + _GAP) + _TEXT
    height = 2 * _MARGIN + _TITLE + len(sheet.steps) * block
    # White in a dark page as well: the pictures' own colours count.
    figure = Figure(figsize=(width, height), facecolor="white")
    _Page(figure, width, height).fill(sheet, block)
    try:
        figure.savefig(path, dpi=_DPI)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


class _Page:
    """A figure on which things are placed in inches from the upper left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def fill(self, sheet: Sheet, block: float) -> None:
        spec = sheet.spec
        title = f"{spec.teaching} on {spec.data.name}: batches of {spec.batch_size}, seed {spec.seed}"
        self.text(_MARGIN, _MARGIN, title, fontsize=12, weight="bold")
        words = [
            ("crops:", _INK),
            ("student's ——", _STUDENT),
            *([("teacher's - - -", _TEACHER)] if sheet.taught else []),
        ]
        for left, (word, colour) in zip((0, 0.55, 1.6), words, strict=False):
            self.text(_MARGIN + left, _MARGIN + 0.44, word, color=colour, fontsize=9, va="baseline")
        for place, name in enumerate(sheet.columns):
            self.text(_MARGIN + place * (_CELL + _GAP), _MARGIN + 0.78, name, fontsize=9, va="baseline")
        for place, step in enumerate(sheet.steps):
            self._step(sheet, step, _MARGIN + _TITLE + place * block)

    def _step(self, sheet: Sheet, step: Step, top: float) -> None:
        fine, told = verdict(sheet.spec, step)
        mix = f", mixing factor {step.draws.mix:.3f}" if sheet.mixed else ""
        head = f"step {step.number}, epoch {step.epochs[0]}{mix}: {told}"
        self.text(_MARGIN, top + 0.1, head, fontsize=10, weight="bold", color=_INK if fine else "#b00020")
        digests = step.digests()
        for place in range(sheet.examples):
            upper = top + _HEAD + place * (_CELL + _GAP)
            originals = [place, *([step.partner(place)] if sheet.mixed else [])]
            for column, which in enumerate(originals):
                self._original(sheet, step, which, column, upper)
            for column, views in enumerate(step.views, start=len(originals)):
                self.picture(column, upper).imshow(_visible(views[place]), interpolation="nearest")
            left = _MARGIN + len(sheet.columns) * (_CELL + _GAP)
            self.text(left, upper, "\n".join(_lines(sheet, step, place, [each[place] for each in digests])), fontsize=8)

    def _original(self, sheet: Sheet, step: Step, place: int, column: int, upper: float) -> None:
        image = sheet.source.images(step.ids[place : place + 1])[0]
        height, width = image.shape[:2]
        axes = self.picture(column, upper)
        axes.imshow(_thumbnail(image), extent=(0, width, height, 0), interpolation="nearest")
        axes.set(xlim=(-0.04 * width, 1.04 * width), ylim=(1.04 * height, -0.04 * height))
        _box(axes, step.draws.student, place, _STUDENT, "-")
        if sheet.taught:
            _box(axes, step.draws.teacher, place, _TEACHER, (0, (4, 4)))

    def picture(self, column: int, upper: float) -> Any:
        left = _MARGIN + column * (_CELL + _GAP)
        axes = self.figure.add_axes(
            (left / self.width, 1 - (upper + _CELL) / self.height, _CELL / self.width, _CELL / self.height)
        )
        axes.axis("off")
        return axes

    def text(self, left: float, top: float, words: str, **style: Any) -> None:
        """Words whose upper left corner is there."""
        place = left / self.width, 1 - top / self.height
        self.figure.text(*place, words, **{"color": _INK, "linespacing": 1.35, "va": "top"} | style)


def _lines(sheet: Sheet, step: Step, place: int, digests: Sequence[str]) -> list[str]:
    """What there is to say of one example."""
    lines = [f"image {_called(sheet.source, step, place)}"]
    partner = step.partner(place)
    if sheet.mixed:
        mix = step.draws.mix
        lines.append(f"{mix:.0%} of it, {1 - mix:.0%} of image {_called(sheet.source, step, partner)}")
    shared = step.draws.shared or len(step.views) == 1
    lines.append(f"crop {_crop(step.draws.student, place)}")
    lines += [] if shared else [f"teacher's crop {_crop(step.draws.teacher, place)}"]
    for teacher in range(len(step.views) - 1):
        same = step.same(teacher)
        if same is not None:
            lines.append(f"{sheet.who[1 + teacher].partition(',')[0]}: {'the same' if same[place] else 'other'} pixels")
    if not lines[-1].endswith("pixels") and expected(sheet.spec) is not None:
        lines.append("the same crop at another size" if shared else "another crop at another size")
    names = [name.partition(",")[0] for name in sheet.who]
    alike = {each: [name for name, own in zip(names, digests, strict=True) if own == each] for each in digests}
    return [*lines, *(f"SHA-256 {digest[:24]}... {', '.join(names)}" for digest, names in alike.items())]


def _called(source: Source, step: Step, place: int) -> str:
    """An example's number, and its class where it has one."""
    number, labels = int(step.ids[place]), source.labels(step.ids[place : place + 1])
    known = labels is not None and source.classes is not None and labels[0] >= 0
    return f"{number} ({source.classes[labels[0]][:24]})" if known else str(number)  # type: ignore[index]


def _crop(draws: ViewDraws, place: int) -> str:
    y, x, height, width = (f"{value:.4g}" for value in draws.boxes[place])
    return f"{width} x {height} px at ({x}, {y})" + (", mirrored" if draws.flips[place] else "")


def _box(axes: Any, draws: ViewDraws, place: int, colour: str, style: Any) -> None:
    from matplotlib.patches import Rectangle

    y, x, height, width = draws.boxes[place]
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linestyle=style, linewidth=1.8))


def _visible(view: Array) -> Array:
    """From [-1, 1] to uint8."""
    return np.clip(np.rint((view + 1) * 127.5), 0, 255).astype(np.uint8)


def _thumbnail(image: Array) -> Array:
    from PIL import Image

    if max(image.shape[:2]) <= _THUMBNAIL:
        return image
    small = Image.fromarray(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(small)

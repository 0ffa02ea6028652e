"""Batches in the order of the draws, made ahead of the step that takes them.

Small images go to the step as they are, with their draws; larger or unequal ones are cropped and resized here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from framework.data.hostviews import evaluation_view, render_view, to_range
from framework.data.threads import spread
from framework.draws.order import ExampleOrder
from framework.draws.views import draw, mix_factors, some
from framework.protocols import Array, Batch, Draws, EvalBatch, Source
from framework.spec import DistillSpec
from framework.spec.teachings import RESIZED_FIRST
from framework.world import World

T = TypeVar("T")

# Above this the interpolation matmuls of the compiled step cost more than cv2 on the host.
CANVAS_LIMIT = 96
_AHEAD = 4
# With fewer examples numpy's calls take longer than their arithmetic.
DRAWN_TOGETHER = 4096
# Bytes of images that go from the thread to the step at once: for less, the two would mostly wait for each other.
HANDED_OVER = 2**20


class Loader:
    """The training batches of a spec, by step.

    Args:
        spec: the distillation.
        source: the training split.
        total_steps: one past the last step.
        targets: for each teacher its logits [N, C] for all examples, where they are made before the training.
        world: of a batch, only what this process computes is drawn and read, with its boundary where views are mixed.
    """

    def __init__(
        self,
        spec: DistillSpec,
        source: Source,
        total_steps: int,
        targets: Sequence[Array] | None = None,
        world: World = World(),  # noqa: B008 - frozen
    ) -> None:
        self.spec, self.source, self.total_steps, self.targets = spec, source, total_steps, targets
        teaching = spec.scheme
        self._mixup = teaching.mixup
        self._own = world.places(spec.batch_size, self._mixup > 0)
        self._size = spec.batch_size if self._own is None else len(self._own)
        self._bounded = self._own is not None and self._mixup > 0
        self._beyond = {who: crop in RESIZED_FIRST for who, crop in teaching.crops.items()}
        self.order = ExampleOrder(source.num_examples, spec.batch_size, spec.seed)
        # The examples of some steps are those of one step of a larger batch, and are drawn at once.
        self._together = max(1, DRAWN_TOGETHER // spec.batch_size)
        self._blocks = replace(self.order, batch_size=self._together * spec.batch_size)
        self._block = self._drawn_together(0)
        self.on_host = source.uniform is None or max(source.uniform) > CANVAS_LIMIT

    def batch(self, step: int) -> Batch:
        """The batch of one step, whatever was asked before."""
        ids, draws = self.drawn(step)
        labels = self.source.labels(ids) if self.spec.loss.task_weight > 0 else None
        targets = None if self.targets is None else tuple(each[ids[self._bounded :]] for each in self.targets)
        shown = self.shown(self.source.images(ids), draws, targets is None)
        return replace(shown, labels=labels, targets=targets, bounded=self._bounded)

    def drawn(self, step: int) -> tuple[Array, Draws]:
        """The examples of one step, int64 [B] or this process's of them, and the draws of their views."""
        size, place = self._size, step % self._together
        # Several threads may ask: each continues from what it has seen itself.
        block = self._block
        if block[0] != step // self._together:
            block = self._block = self._drawn_together(step)
        _, ids, draws, mixes = block
        own = slice(place * size, (place + 1) * size)
        return ids[own], some(draws, own, float(mixes[place]))

    def _drawn_together(self, step: int) -> tuple[int, Array, Draws, Array]:
        number = step // self._together
        ids, epochs = map(self._taken, self._blocks.batch(number))
        steps = np.arange(number * self._together, (number + 1) * self._together)
        mixes = mix_factors(self.spec.seed, steps, self._mixup)
        return number, ids, draw(self.spec, step, ids, epochs, self.source.sizes(ids)), mixes

    def _taken(self, values: Array) -> Array:
        """Of the values of several whole batches those of this process."""
        return values if self._own is None else values.reshape(-1, self.spec.batch_size)[:, self._own].reshape(-1)

    def shown(self, images: Sequence[Array], draws: Draws, teachers: bool = True) -> Batch:
        """A batch of images under some draws; without `teachers`, their views are left out where that saves work."""
        if not self.on_host:
            return Batch(images=np.asarray(images), draws=draws)
        return Batch(views=self._views(images, draws, teachers), draws=draws, mix=draws.mix)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """The batches from step `start` to `stop` or the end, a few made ahead in a thread."""
        together = 1
        if self.source.uniform is not None and not self.on_host:
            num_bytes = self._size * 3 * math.prod(self.source.uniform)
            together = min(self._together, max(1, HANDED_OVER // num_bytes))
        return ahead(self.batch, range(start, self.total_steps if stop is None else stop), together=together)

    def _views(self, images: Sequence[Array], draws: Draws, teachers: bool) -> tuple[Array, ...]:
        own = self.spec.views.size
        asked = [(self._beyond["student"], own, draws.student)]
        if teachers:
            others = (size for size in self.spec.view_sizes if not (draws.shared and size == own))
            asked += [(self._beyond["teacher"], size, draws.teacher) for size in others]
        # Whole levels travel to the device in a quarter of the bytes.
        whole = self.spec.views.truncate
        made = [np.empty((len(images), size, size, 3), np.uint8 if whole else np.float32) for _, size, _ in asked]

        def make(place: int) -> None:
            image = images[place]  # which may decode it
            for (beyond, size, drawn), views in zip(asked, made, strict=True):
                pixels = render_view(image, drawn.boxes[place], size, bool(drawn.flips[place]), whole, beyond)
                views[place] = pixels if whole else to_range(pixels)

        spread(make, len(images))
        by_size = {size: views for (_, size, _), views in zip(asked, made, strict=True)}
        return made[0], *[by_size.get(size, made[0]) for size in self.spec.teacher_sizes]


class EvalBatches:
    """A split's views for evaluation, all of one batch size; they are made once where they fit in memory.

    Args:
        spec: the distillation; `evaluation.resize` and the views' sizes count.
        source: the split.
        limit: only so many examples, spread evenly over the split; None takes all.
        world: the processes among whom the batches are dealt out; this one has its own.
    """

    _KEPT_BYTES = 512 * 2**20

    def __init__(
        self,
        spec: DistillSpec,
        source: Source,
        limit: int | None = None,
        world: World = World(),  # noqa: B008 - frozen
    ) -> None:
        self.spec, self.source, self.limit, self.world = spec, source, limit, world
        # Teachers whose view is the student's size take the student's.
        self._sizes = spec.view_sizes if {*spec.view_sizes} - {spec.views.size} else ()
        count = source.num_examples if limit is None else min(limit, source.num_examples)
        self.ids = np.arange(count, dtype=np.int64) * source.num_examples // count
        self.batch_size = min(spec.evaluation.batch_size, count)
        self._kept: list[EvalBatch] | None = None

    def __iter__(self) -> Iterator[EvalBatch]:
        if self._kept is not None:
            return iter(self._kept)
        starts = range(0, len(self.ids), self.batch_size)[self.world.rank :: self.world.size]
        made = ahead(self._batch, starts)
        pixels = sum(size**2 for size in (self.spec.views.size, *self._sizes))
        if len(self.ids) * pixels * 12 > self._KEPT_BYTES * self.world.size:
            return made
        self._kept = list(made)
        return iter(self._kept)

    def whole(self) -> EvalBatches:
        """All batches, for one process."""
        return self if self.world.size == 1 else EvalBatches(self.spec, self.source, self.limit)

    def _batch(self, start: int) -> EvalBatch:
        ids = self.ids[start : start + self.batch_size]
        padding = self.batch_size - len(ids)
        images = self.source.images(ids)
        labels = self.source.labels(ids)
        labels = np.full(len(ids), -1, np.int32) if labels is None else labels.astype(np.int32)
        return EvalBatch(
            views=self._views(images, self.spec.views.size, padding),
            labels=np.pad(labels, (0, padding), constant_values=-1),
            mask=np.pad(np.ones(len(ids), np.float32), (0, padding)),
            teacher_views=tuple(self._views(images, size, padding) for size in self._sizes),
        )

    def _views(self, images: Sequence[Array], size: int, padding: int) -> Array:
        """The images at one size: the same part of each, however many pixels it has."""
        resize, crop = self.spec.evaluation.resize, None
        if resize is not None:
            resize, crop = round(resize * size / self.spec.views.size), size
        views = np.zeros((len(images) + padding, size, size, 3), np.float32)

        def make(place: int) -> None:
            to_range(evaluation_view(images[place], resize, crop, size), views[place])

        spread(make, len(images))
        return views


def ahead(make: Callable[[int], T], items: range, depth: int = _AHEAD, together: int = 1) -> Iterator[T]:
    """Make items in a thread, a few before they are asked for; what it raises is raised here, in its place.

    Args:
        make: makes one.
        items: which.
        depth: so many groups of them are made ahead.
        together: items in a group, which are handed over at once.
    """
    groups = (items[place : place + together] for place in range(0, len(items), together))
    with ThreadPoolExecutor(1, "loader") as pool:
        waiting = deque(pool.submit(_group, make, group) for group in islice(groups, depth))
        try:
            while waiting:
                made, error = waiting.popleft().result()
                waiting.extend(pool.submit(_group, make, group) for group in islice(groups, 1))
                yield from made
                if error is not None:
                    raise error
        finally:
            for future in waiting:
                future.cancel()


def _group(make: Callable[[int], T], items: range) -> tuple[list[T], BaseException | None]:
    """What was made, and what went wrong with the item after it."""
    made: list[T] = []
    try:
        for item in items:
            made.append(make(item))  # noqa: PERF401 - those before an error count
    except BaseException as error:  # noqa: BLE001 - raised where its item is asked for
        return made, error
    return made, None

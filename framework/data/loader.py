"""Batches of a plan, made ahead of the step that takes them.

Small images go to the step as they are, with their draws; larger or unequal ones are cropped and resized here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from framework.data.hostviews import evaluation_view, render_view
from framework.data.store import num_threads
from framework.draws import draw
from framework.errors import UserError
from framework.plan import Plan
from framework.protocols import Array, Batch, Draws, EvalBatch, Source, ViewDraws
from framework.spec import DistillSpec

T = TypeVar("T")

# Above this the interpolation matmuls of the compiled step cost more than cv2 on the host.
CANVAS_LIMIT = 96
_AHEAD = 4


class Loader:
    """The training batches of a spec, by step.

    Args:
        spec: the distillation.
        source: the training split.
        total_steps: one past the last step.
    """

    def __init__(self, spec: DistillSpec, source: Source, total_steps: int) -> None:
        self.spec, self.source, self.total_steps = spec, source, total_steps
        self.plan = Plan(source.num_examples, spec.batch_size, spec.seed)
        self.on_host = source.uniform is None or max(source.uniform) > CANVAS_LIMIT

    def batch(self, step: int) -> Batch:
        """The batch of one step, whatever was asked before."""
        ids, epochs = self.plan.batch(step)
        draws = draw(self.spec, step, ids, epochs, self.source.sizes(ids))
        labels = self.source.labels(ids) if self.spec.loss.task_weight > 0 else None
        images = self.source.images(ids)
        if not self.on_host:
            return Batch(images=np.asarray(images), draws=draws, labels=labels)
        return Batch(views=self._views(images, draws), draws=draws, mix=draws.mix, labels=labels)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches from step `start` to the end, a few made ahead in a thread."""
        return ahead(self.batch, range(start, self.total_steps))

    def _views(self, images: Any, draws: Draws) -> tuple[Array, Array]:
        student = self._view(images, draws.student)
        return student, student if draws.shared else self._view(images, draws.teacher)

    def _view(self, images: Any, draws: ViewDraws) -> Array:
        views = self.spec.views

        def one(image: Array, box: Array, flip: float) -> Array:
            return render_view(image, box, views.size, bool(flip), views.truncate)

        with ThreadPoolExecutor(num_threads()) as pool:
            rendered = list(pool.map(one, images, draws.boxes, draws.flips))
        return to_range(np.stack(rendered))


def to_range(pixels: Array) -> Array:
    """From [0, 255] to [-1, 1], float32."""
    return (pixels * np.float32(2 / 255) - 1).astype(np.float32)


class EvalBatches:
    """A split's views for evaluation, all of one batch size; they are made once where they fit in memory.

    Args:
        spec: the distillation; `evaluation.resize` and `views.size` count.
        source: the split.
        limit: only so many examples, spread evenly over the split; None takes all.

    Raises:
        UserError: `evaluation.resize` is smaller than the crop that is taken after it.
    """

    _KEPT_BYTES = 512 * 2**20

    def __init__(self, spec: DistillSpec, source: Source, limit: int | None = None) -> None:
        resize = spec.evaluation.resize
        if resize is not None and resize < spec.views.size:
            raise UserError(f"evaluation.resize = {resize}: allowed is views.size = {spec.views.size} or more, or null")
        self.spec, self.source = spec, source
        count = source.num_examples if limit is None else min(limit, source.num_examples)
        self.ids = np.arange(count, dtype=np.int64) * source.num_examples // count
        self.batch_size = min(spec.evaluation.batch_size, count)
        self._kept: list[EvalBatch] | None = None

    def __iter__(self) -> Iterator[EvalBatch]:
        if self._kept is not None:
            return iter(self._kept)
        made = ahead(self._batch, range(0, len(self.ids), self.batch_size))
        if len(self.ids) * self.spec.views.size**2 * 12 > self._KEPT_BYTES:
            return made
        self._kept = list(made)
        return iter(self._kept)

    def _batch(self, start: int) -> EvalBatch:
        ids = self.ids[start : start + self.batch_size]
        padding = self.batch_size - len(ids)
        size, resize = self.spec.views.size, self.spec.evaluation.resize
        crop = None if resize is None else size
        with ThreadPoolExecutor(num_threads()) as pool:
            views = list(pool.map(lambda image: evaluation_view(image, resize, crop, size), self.source.images(ids)))
        labels = self.source.labels(ids)
        labels = np.full(len(ids), -1, np.int32) if labels is None else labels.astype(np.int32)
        return EvalBatch(
            views=np.pad(to_range(np.stack(views)), ((0, padding), (0, 0), (0, 0), (0, 0))),
            labels=np.pad(labels, (0, padding), constant_values=-1),
            mask=np.pad(np.ones(len(ids), np.float32), (0, padding)),
        )


def ahead(make: Callable[[int], T], items: range, depth: int = _AHEAD) -> Iterator[T]:
    """Make items in a thread, a few before they are asked for; what it raises is raised here, in its place."""
    rest = iter(items)
    with ThreadPoolExecutor(1, "loader") as pool:
        waiting = deque(pool.submit(make, item) for item in islice(rest, depth))
        try:
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(pool.submit(make, item) for item in islice(rest, 1))
                yield made
        finally:
            for future in waiting:
                future.cancel()

"""What the layers know of each other: batches, trainers, data sources, recorders and the outcome of a run.

Shapes: B batch, H and W canvas height and width, S view size, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

Array = np.ndarray
# What a trainer has seen of a batch: a mapping of its backend's arrays for each part of the batch.
Seen = Sequence[Mapping[str, Any]]
Status = Literal["COMPLETED", "INTERRUPTED", "PREEMPTED", "FAILED"]


@dataclass(frozen=True)
class ViewDraws:
    """The numbers that make one view of each example of a batch.

    Attributes:
        boxes: float32 [B, 4], the crop (y, x, height, width) in pixels of the canvas.
        flips: float32 [B], 1 where the view is mirrored left to right, else 0.
        extra: float32 [B, E, 8], uniform numbers in [0, 1) for the E added augmentations.
    """

    boxes: Array
    flips: Array
    extra: Array


@dataclass(frozen=True)
class Draws:
    """Everything random in one step.

    Attributes:
        student: the draws of the student's view.
        teacher: the draws of the teachers' view; the same object as `student` where they share one view.
        mix: the factor of the example itself in [0.5, 1]; its partner, the previous one of the batch, has the rest.
    """

    student: ViewDraws
    teacher: ViewDraws
    mix: float

    @property
    def shared(self) -> bool:
        """Whether student and teachers see the very same pixels."""
        return self.student is self.teacher


@dataclass(frozen=True)
class Batch:
    """One step's input: canvases and draws, or views that are rendered already.

    Attributes:
        images: uint8 [B, H, W, 3] canvases, or None when `views` are given.
        draws: the draws that turn `images` into views; with `views`, only the added augmentations use them.
        views: [B, S, S, 3], not mixed, float32 in [-1, 1] or whole grey levels in uint8: the student's, then one for
            each teacher; the same array again where it is shared.
        mix: the mixing factor in [0.5, 1]; 1 mixes nothing.
        labels: int32 [B] or None; needed only by a task loss.
        targets: float32 [B, C] logits for each teacher, where the teaching makes them before; else None.
        bounded: the first example is another part's, and here only to be mixed with the second; `targets` lack it.
    """

    images: Array | None = None
    draws: Draws | None = None
    views: tuple[Array, ...] | None = None
    mix: float = 1.0
    labels: Array | None = None
    targets: tuple[Array, ...] | None = None
    bounded: bool = False

    @property
    def size(self) -> int:
        """Its examples, a boundary among them."""
        return next(len(each) for each in (self.images, *(self.views or ())) if each is not None)


@dataclass(frozen=True)
class EvalBatch:
    """Views for evaluation, padded to one batch size.

    Attributes:
        views: float32 [B, S, S, 3] in [-1, 1].
        labels: int32 [B], -1 where there is no label.
        mask: float32 [B], 0 for padding.
        teacher_views: as `views`, one for each of `spec.view_sizes`; () where all of them are the student's size.
        targets: each teacher's logits [B, C] for these views, where they are known already; else ().
    """

    views: Array
    labels: Array
    mask: Array
    teacher_views: tuple[Array, ...] = ()
    targets: tuple[Array, ...] = ()


class Source(Protocol):
    """One split: examples by number, without state.

    Attributes:
        name: what messages call it, `"glyphs[train]"`.
        num_examples: how many there are.
        classes: the class names in the order of the labels, or None without labels.
        uniform: the (height, width) that all images have, or None where sizes differ.
        fingerprint: a hash of the images and labels (or of what determines them).
    """

    name: str
    num_examples: int
    classes: tuple[str, ...] | None
    uniform: tuple[int, int] | None
    fingerprint: str

    def images(self, ids: Array) -> Sequence[Array]:
        """The uint8 RGB images [H, W, 3] of int64 [B] ids; `np.asarray` makes them [B, H, W, 3] where `uniform`."""

    def sizes(self, ids: Array) -> Array:
        """The int32 [B, 2] (height, width) of the images, without decoding the pixels where possible."""

    def labels(self, ids: Array) -> Array | None:
        """The int32 [B] labels, -1 where an example has none; None where the data have no labels."""


class Trainer(Protocol):
    """A compiled distillation step with its state on a device.

    Attributes:
        steps_done: updates, those before a resume included.
        first_step: what is waited for in the first step, in words.
        together: how many steps are best asked for at once.
        asked: how urgently this process wants all to end; what all want is a metric of the next step, `asked`.
    """

    steps_done: int
    first_step: str
    together: int
    asked: float

    def see(self, batch: Batch) -> Seen:
        """Render a batch's views and ask the teachers: all of a step that does not depend on the student."""

    def step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        """Do one update; returns scalars that are still on the device (`float()` of one waits for it).

        Args:
            batch: a batch; or what any trainer of the same data, views, teachers and parts has seen of one.
        """

    def steps(self, batches: Sequence[Batch | Seen]) -> Sequence[Mapping[str, Any]]:
        """Do as many updates as there are batches, each as `step` does it; returns the scalars of each."""

    def explained(self, error: Exception) -> Exception:
        """The error of a step or of reading its metrics, or `framework.errors.OutOfMemory` in its place."""

    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        """Accuracy, loss, KL to the teacher and agreement@1/@5 as plain floats, `"student.accuracy"`."""

    def answers(self, batches: Iterable[EvalBatch]) -> dict[str, Array]:
        """What student and teacher say of each example that is no padding: see `framework.evaluation.answers`."""

    def probe(self, batch: Batch) -> dict[str, Array]:
        """What the next step would compute, without doing it: loss, views, logits and gradients by name."""

    def look(self, batch: Batch) -> list[Array]:
        """The student's view of a batch and each teacher's, mixed: [B, S, S, 3] in [-1, 1]."""

    def teach(self, batch: Batch) -> list[Array]:
        """Each teacher's logits [B, C] for its view of a batch."""

    def state(self) -> dict[str, Array]:
        """All that a resume needs, as arrays owned by the caller; names and shapes are equal on every backend."""

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take over a state that `state()` gave, on this or another backend."""


@runtime_checkable
class Recorder(Protocol):
    """Where a run is written down. A recorder never raises for an outage of what lies behind it."""

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """The run begins: the spec as plain values, and versions, device, threads and hashes."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars after `step` updates; names are dotted, `"train.loss"`."""

    def artifact(self, path: Path) -> None:
        """A file that belongs to the run."""

    def ended(self, status: Status, result: Mapping[str, Any]) -> None:
        """The run is over, with a result of plain values."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: COMPLETED, INTERRUPTED (Ctrl-C), PREEMPTED (SIGTERM) or FAILED.
        steps: updates that were done.
        result: final metrics as plain nested values.
        error: the exception that ended it, where one did.
        kept: the newest checkpoint that was written.
        problems: a line on each file that could not be written.
    """

    status: Status
    steps: int
    result: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    kept: Path | None = None
    problems: tuple[str, ...] = ()

    def well(self) -> Outcome:
        """Itself; raises what ended the run."""
        if self.error is not None:
            raise self.error
        return self

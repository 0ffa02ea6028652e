"""The admission test: what a model, whoever made it, must do with a handful of views before it learns or teaches.

A model is called with numbers, in evaluation and, a student, in training mode; what it keeps is put back afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from framework.errors import UserError, one_line
from framework.models.calls import called
from framework.models.foreign import NUM_PROBES, are_probabilities, probes
from framework.models.initial import parameters
from framework.models.layers import Net
from framework.models.reordered import Reordered
from framework.views import normalize

Array = np.ndarray
# How far two answers may differ, as a share of the largest logit: rounding, in another order on an accelerator.
_CLOSE, _CLOSE_IN_HALF = 1e-3, 5e-2
# Pixels at which our own models are tried.
_OURS = 32


@dataclass
class Candidate:
    """A model that is to be tried.

    Attributes:
        model: a built Keras model.
        who: what messages call it, `"the teacher 'digits'"`.
        size: pixels of its views.
        normalize: its own input range, as in `TeacherSpec`.
    """

    model: keras.Model
    who: str
    size: int
    normalize: str | None = None

    def admit_teacher(self, may_be_constant: bool = False) -> None:
        """Refuse a model that can't teach.

        Args:
            may_be_constant: take one that gives all images the same answer.

        Raises:
            UserError: it doesn't take the views; gives anything but one tensor of finite logits [B, C], or
                probabilities; or its answer for an image depends on chance, on the other images, or on nothing.
        """
        # The same first images among others: one more batch shows both faults.
        first, mixed = self._logits(*self._views(others=True))
        self._check(first)
        if not may_be_constant and not np.ptp(first, axis=0).any():
            raise UserError(
                f"{self.who} gives the same answer for every image: wrong input range (teacher.normalize), or weights "
                "that were not loaded? teacher.min_accuracy=0 takes it as it is"
            )
        half = NUM_PROBES // 2
        if self._close(mixed[:half], first[:half]):
            return
        self._check_steady(first)
        raise UserError(
            f"{self.who}: its answer for an image depends on the other images of the batch: it is in training mode, or "
            "normalises by the batch's own statistics"
        )

    def admit_student(self) -> None:
        """Refuse a model that can't learn, or would be stored without all that it learned; its state stays.

        Raises:
            UserError: as for a teacher, but for the other images; or in training mode it gives something else, or
                keeps what is no variable.
        """
        [first] = self._logits(*self._views())
        self._check(first)
        if not self.model.trainable_variables:
            raise UserError(f"{self.who} has no parameter that can be trained: all are frozen, or there are none")
        before = _state(self.model)
        try:
            [trained] = self._logits(*self._views(), training=True)
            _check_finite(trained, f"{self.who} in training mode")
            if trained.shape != first.shape:
                shapes = f"{list(trained.shape)} in training mode and {list(first.shape)} in evaluation"
                raise UserError(f"{self.who} gives {shapes}: build it without auxiliary outputs")
            self._check_tracked(before)
        finally:
            _restore(self.model, before)
        [again] = self._logits(*self._views())
        if not self._close(again, first):
            self._check_steady(again)
            raise UserError(
                f"{self.who} keeps something from training that is no parameter and no buffer: it would not be stored; "
                "keep it in a variable (torch: register_buffer)"
            )

    def _check(self, logits: Array) -> None:
        _check_weights(self.model, self.who)
        _check_finite(logits, self.who)
        if are_probabilities(logits):
            raise UserError(
                f"{self.who} gives probabilities (rows that sum to one), expected logits: leave out its softmax, or "
                "return the logarithm of it"
            )

    def _check_steady(self, logits: Array) -> None:
        [again] = self._logits(*self._views())
        if not self._close(again, logits):
            raise UserError(
                f"{self.who} gives other logits for the same images when it is asked again: in evaluation it must draw "
                "no random numbers (dropout that ignores training=False?)"
            )

    def _check_tracked(self, before: Mapping[str, Array]) -> None:
        now = parameters(self.model)
        stray = [*(name for name in now if name not in before), *getattr(self.model, "untracked", tuple)()]
        if stray:
            raise UserError(
                f"{self.who} makes {stray[0]!r} anew in training: it would not be trained or stored; make it once, and "
                "assign its values in place"
            )

    def _close(self, one: Array, other: Array) -> bool:
        share = _CLOSE if self.model.compute_dtype in ("float32", "float64") else _CLOSE_IN_HALF
        return bool(np.abs(one - other).max() <= share * max(1e-6, float(np.abs(other).max())))

    def _views(self, others: bool = False) -> list[Any]:
        """A batch of probes, with `others` a second one of which the first half is the same."""
        # Ours take any size, and are tried at one that costs little.
        model = self.model.model if isinstance(self.model, Reordered) else self.model
        shown = probes(min(self.size, _OURS) if isinstance(model, Net) else self.size)
        batches = [shown]
        if others:
            half = NUM_PROBES // 2
            batches.append(np.concatenate([shown[:half], -shown[:half]]))
        floats = keras.config.floatx()
        return [normalize(keras.ops.convert_to_tensor(each, dtype=floats), self.normalize) for each in batches]

    def _logits(self, *batches: Any, training: bool = False) -> list[Array]:
        """What the model gives for each batch, once it is one tensor [B, C]."""
        when = " in training mode" if training else ""
        try:
            given = called(self.model, batches, training)
        except UserError:
            raise
        except Exception as error:  # it is somebody else's code
            reason = one_line(f"{type(error).__name__}: {error}")
            raise UserError(
                f"{self.who} doesn't take views [B, {self.size}, {self.size}, 3]{when}: {reason}"
            ) from error
        for outputs in given:
            _check_one(outputs, f"{self.who}{when}")
            # PyTorch's tensors say whether anything can be learned from them.
            if training and not getattr(outputs, "requires_grad", True):
                raise UserError(
                    f"{self.who}: no gradient leads from its logits to its parameters, so it can't be trained: leave "
                    "out no_grad, detach, .data, rounding and casts to integers"
                )
        return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(each, "float32"))) for each in given]


def _check_one(outputs: Any, who: str) -> None:
    if isinstance(outputs, Mapping):
        found = f"a dictionary ({', '.join(map(str, outputs))})"
    elif isinstance(outputs, (tuple, list)):
        found = f"{len(outputs)} outputs" if len(outputs) != 1 else "a list of one tensor"
    elif not hasattr(outputs, "shape"):
        found = f"a {type(outputs).__name__}"
    elif getattr(outputs, "is_sparse", False):
        found = "a sparse tensor"
    elif len(outputs.shape) != 2 or outputs.shape[0] != NUM_PROBES:
        found = f"{list(outputs.shape)} for {NUM_PROBES} images"
    else:
        return
    raise UserError(f"{who} gives {found}, expected one tensor of logits [B, C]: return the logits alone")


def _check_finite(logits: Array, who: str) -> None:
    bad = ~np.isfinite(logits)
    if not bad.any():
        return
    value = "NaN" if np.isnan(logits).any() else str(logits[bad][0])
    masked = np.flatnonzero(bad.all(0))
    if value == "-inf" and len(masked):
        raise UserError(
            f"{who} gives -inf for output {masked[0]}, from which no loss can be computed: mask with a large finite "
            "number, such as -1e4"
        )
    raise UserError(
        f"{who} gives {value}, expected finite logits: wrong input range (normalize), or too small a dtype?"
    )


def _check_weights(model: keras.Model, who: str) -> None:
    for name, variable in parameters(model).items() if model.variables else ():
        array = np.asarray(keras.ops.convert_to_numpy(variable))
        if array.dtype.kind in "fV" and not np.isfinite(array.astype(np.float32)).all():
            raise UserError(f"{who} has weights that are not finite numbers, for example {name!r}")


def _state(model: keras.Model) -> dict[str, Array]:
    """A copy of all that the model's variables hold."""
    if not model.variables:
        return {}
    return {name: np.array(keras.ops.convert_to_numpy(each)) for name, each in parameters(model).items()}


def _restore(model: keras.Model, before: Mapping[str, Array]) -> None:
    for name, variable in parameters(model).items() if before else ():
        if name in before and not np.array_equal(keras.ops.convert_to_numpy(variable), before[name], equal_nan=True):
            variable.assign(before[name])

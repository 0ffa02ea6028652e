"""Faults on purpose, each by one changed function of the framework: for workers, never for the tests' own process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import pytest

from framework import kernels, losses, optimizers, task, views
from framework.optimizers.adamw import AdamW

Mutation = Callable[[pytest.MonkeyPatch], None]


def nothing(patch: pytest.MonkeyPatch) -> None:
    """No fault."""


def kerass_mean(patch: pytest.MonkeyPatch) -> None:
    """No fault either, but where Keras takes float64 for float32; the project's own kernels go around that."""
    patch.setattr(kernels, "global_mean", lambda x: keras.ops.mean(x, axis=(1, 2)))


def mixup_rolls_forward(patch: pytest.MonkeyPatch) -> None:
    def mix(values: Any, factor: Any, bounded: bool = False) -> Any:
        return factor * values + (1.0 - factor) * keras.ops.roll(values, -1, axis=0)

    patch.setattr(views, "mix", mix)


def temperature_not_squared(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(losses.DISTANCES, "kl", lambda s, t, temperature: losses.kl(s, t, temperature) / temperature)


def divergence_reversed(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(losses.DISTANCES, "kl", lambda s, t, temperature: losses.kl(t, s, temperature))


def group_norm_epsilon(patch: pytest.MonkeyPatch) -> None:
    original = kernels.group_norm
    patch.setattr(kernels, "group_norm", lambda x, s, b, groups, _, *rest: original(x, s, b, groups, 1e-3, *rest))


def crop_shifted(patch: pytest.MonkeyPatch) -> None:
    original = views.crop_resize

    def shifted(images: Any, boxes: Any, *rest: Any) -> Any:
        return original(images, boxes + keras.ops.cast([0.0, 1.0, 0.0, 0.0], boxes.dtype), *rest)

    patch.setattr(views, "crop_resize", shifted)


def flip_missing(patch: pytest.MonkeyPatch) -> None:
    original = views.crop_resize
    patch.setattr(views, "crop_resize", lambda images, boxes, flips, *rest: original(images, boxes, 0 * flips, *rest))


def value_range(patch: pytest.MonkeyPatch) -> None:
    original = views.crop_resize
    patch.setattr(views, "crop_resize", lambda *arguments: original(*arguments) * (255 / 256))


def biases_decay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(task, "decays", lambda path, rank: True)


def _with_options(patch: pytest.MonkeyPatch, change: Callable[[Any], dict[str, Any]]) -> None:
    original = optimizers.make
    patch.setattr(optimizers, "make", lambda spec: original(dataclasses.replace(spec, **change(spec))))


def adam_epsilon(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, lambda spec: {"epsilon": 1e-7})


def decay_times_lr(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, lambda spec: {"weight_decay": spec.weight_decay * spec.lr})


def clip_missing(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, lambda spec: {"clip_norm": None})


def bias_correction_missing(patch: pytest.MonkeyPatch) -> None:
    original = AdamW.scalars
    # After so many steps there is none, for an engine that computes it from their number.
    ones = {"correction1": 1.0, "correction2": 1.0, "count": 1e9}
    patch.setattr(AdamW, "scalars", lambda self, *arguments: original(self, *arguments) | ones)


MUTATIONS: dict[str, Mutation] = {
    function.__name__: function
    for function in (
        mixup_rolls_forward,
        temperature_not_squared,
        divergence_reversed,
        group_norm_epsilon,
        crop_shifted,
        flip_missing,
        value_range,
        biases_decay,
        adam_epsilon,
        decay_times_lr,
        clip_missing,
        bias_correction_missing,
    )
}

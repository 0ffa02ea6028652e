"""Targets made before the training: means over many crops of what the engine's own teachers say, kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops

from framework.data import targets
from framework.data.hostviews import render_view
from framework.data.loader import Loader
from framework.draws.views import TARGET_STREAM, view_draws
from framework.spec import DistillSpec
from tests.backends.tiny import CANVAS, SIZE, Tiny

CROPS, COUNT = 5, 7


class Few:
    """A handful of images, of one size or of several."""

    name, classes, fingerprint = "few[train]", None, "few"
    num_examples = COUNT

    def __init__(self, uniform: bool) -> None:
        self._images = [
            image[: CANVAS if uniform else CANVAS - number % 3] for number, image in enumerate(Tiny.images())
        ]
        self.uniform = (CANVAS, CANVAS) if uniform else None

    def images(self, ids: np.ndarray) -> Any:
        chosen = [self._images[number] for number in ids]
        return np.stack(chosen) if self.uniform else chosen

    def sizes(self, ids: np.ndarray) -> np.ndarray:
        return np.array([self._images[number].shape[:2] for number in ids], np.int32)

    def labels(self, ids: np.ndarray) -> None:
        return None


def spec_of(tiny: Tiny, teachers: int = 1, **views: Any) -> DistillSpec:
    small = {"name": "convnet", "options": {"widths": [8]}}
    views = {"size": SIZE, "area": [0.3, 1.0], "truncate": False, "target_crops": CROPS} | views
    evaluation = {"batch_size": 4}  # so that a batch holds crops of two images, and the last one is filled up
    return tiny.spec(teaching="fix/ic_ens", teachers=[small] * teachers, views=views, evaluation=evaluation)


def sure(tiny: Tiny, spec: DistillSpec) -> Any:
    """A trainer whose teachers have opinions."""
    teachers = [tiny.model(each, seed=100 + place) for place, each in enumerate(spec.teachers)]
    for teacher in teachers:
        kernel = teacher.trainable_variables[-2]
        kernel.assign(np.random.default_rng(1).normal(0, 3, kernel.shape))
    return tiny.backend.compile(spec, tiny.model(spec.student), teachers, total_steps=9, device=tiny.device), teachers


def by_hand(spec: DistillSpec, source: Few, teachers: list[Any], size: int) -> list[np.ndarray]:
    """Each crop cut by the host's code, shown to the Keras models, averaged in numpy."""
    sums = [np.zeros((COUNT, 4)) for _ in teachers]
    for crop in range(CROPS):
        ids = np.arange(COUNT)
        draws = view_draws(spec, TARGET_STREAM, ids, np.full(COUNT, crop), source.sizes(ids))
        cut = zip(source.images(ids), draws.boxes, draws.flips, strict=True)
        views = np.stack([render_view(image, box, size, bool(flip), False) for image, box, flip in cut]) / 127.5 - 1
        for total, teacher in zip(sums, teachers, strict=True):
            logits = ops.convert_to_numpy(teacher(ops.convert_to_tensor(views.astype(np.float32)), training=False))
            powers = np.exp(logits.astype(np.float64))
            total += powers / powers.sum(1, keepdims=True)
    return [np.log(total / CROPS) for total in sums]


@pytest.mark.parametrize("uniform", [True, False], ids=["canvases", "rendered"])
def test_targets_are_mean_predictions(tiny: Tiny, tmp_path: Path, uniform: bool) -> None:
    spec, source = spec_of(tiny, teachers=2, teacher_size=12), Few(uniform)
    trainer, teachers = sure(tiny, spec)
    made = targets.make(Loader(spec, source, 9), trainer, ["a", "b"], tmp_path)
    for found, expected in zip(made, by_hand(spec, source, teachers, 12), strict=True):
        assert (found.shape, found.dtype) == ((COUNT, 4), np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)


def test_targets_teach(tiny: Tiny, tmp_path: Path) -> None:
    """The step's loss is the divergence from them, whatever the student's view."""
    spec, source = spec_of(tiny), Few(True)
    trainer, _ = sure(tiny, spec)
    made = targets.make(Loader(spec, source, 9), trainer, ["a"], tmp_path)
    batch = Loader(spec, source, 9, made).batch(3)
    found = trainer.probe(batch)
    assert batch.targets is not None
    np.testing.assert_array_equal(found["logits.teacher0"], batch.targets[0])
    logs = found["logits.student"] - np.log(np.exp(found["logits.student"]).sum(1, keepdims=True))
    expected = (np.exp(batch.targets[0]) * (batch.targets[0] - logs)).sum(1).mean()
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(trainer.step(batch)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_targets_are_kept_chunk_by_chunk(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "CHUNK", 3)
    spec, source = spec_of(tiny), Few(True)
    trainer, _ = sure(tiny, spec)
    shown: list[int] = []
    teach = trainer.teach
    monkeypatch.setattr(trainer, "teach", lambda batch: [shown.append(1), teach(batch)][1])

    def made(of: DistillSpec = spec, teacher: str = "a") -> tuple[np.ndarray, int]:
        shown.clear()
        (array,) = targets.make(Loader(of, source, 9), trainer, [teacher], tmp_path)
        return array, len(shown)

    first, batches = made()
    assert batches == 4 + 4 + 2  # of 15, 15 and 5 crops, 4 at a time
    again, batches = made()
    assert batches == 0
    np.testing.assert_array_equal(again, first)
    [folder] = (tmp_path / "targets").iterdir()
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 3
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-1])
    again, batches = made()
    assert batches == 4 + 2
    np.testing.assert_array_equal(again, first)
    # Another teacher, seed or number of crops makes others.
    assert made(teacher="b")[1] > 0
    assert made(spec.replace(seed=1))[1] > 0
    assert made(spec_of(tiny, target_crops=2))[1] > 0


def test_a_killed_run_loses_a_chunk_at_most(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "CHUNK", 3)
    spec, source = spec_of(tiny), Few(True)
    trainer, _ = sure(tiny, spec)
    shown, teach = [0], trainer.teach

    def dying(batch: Any) -> Any:
        shown[0] += 1
        if shown[0] == 7:
            raise KeyboardInterrupt
        return teach(batch)

    monkeypatch.setattr(trainer, "teach", dying)
    with pytest.raises(KeyboardInterrupt):
        targets.make(Loader(spec, source, 9), trainer, ["a"], tmp_path)
    targets.make(Loader(spec, source, 9), trainer, ["a"], tmp_path)
    assert shown[0] == 7 + 4 + 2  # the second chunk anew, and the third

"""Whatever number of processes and devices computes it, the result is the one of a single device."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.backends import worlds

Found = dict[str, np.ndarray]
STEPS = 20


@dataclass(frozen=True)
class Shape:
    """How a batch is spread."""

    processes: int = 1
    devices: int | None = None
    in_turn: int = 1
    batch_size: int = 24
    precision: str = "float64"
    broken: str | None = None
    # Of a student with BatchNorm, over how many examples: "whole", or a number.
    norm: str | None = None

    def __str__(self) -> str:
        parts = [
            self.processes,
            self.devices or 1,
            self.in_turn,
            self.batch_size,
            self.precision,
            self.broken,
            self.norm,
        ]
        return "-".join(str(part) for part in parts if part is not None)


# Of each engine what it can do: several processes, several devices of one, or both.
SPREAD = {
    "torch": [Shape(2, in_turn=2), Shape(4), Shape(3, batch_size=25)],
    "jax": [Shape(1, 4, in_turn=2), Shape(2, 2)],
    "tensorflow": [Shape(1, 4, in_turn=2), Shape(2), Shape(2, batch_size=25)],
}
BROKEN = {
    "torch": [
        Shape(2, broken="partner"),
        Shape(2, broken="clip"),
        Shape(2, batch_size=25, broken="share"),
        Shape(3, batch_size=25, broken="statistics", norm="whole"),
    ],
    "jax": [Shape(1, 4, broken="partner"), Shape(1, 4, broken="clip")],
    "tensorflow": [Shape(1, 4, broken="partner"), Shape(1, 4, broken="clip")],
}
Runs = Callable[[Shape], Found]


@pytest.fixture(scope="module")
def runs(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """What a shape gives, computed once."""
    folder, known = tmp_path_factory.mktemp("worlds"), dict[Shape, Found]()

    def run(shape: Shape) -> Found:
        if shape not in known:
            here = folder / str(shape)
            here.mkdir()
            job = {
                "backend": backend,
                "precision": shape.precision,
                "devices": shape.devices,
                "steps": STEPS,
                "batch_size": shape.batch_size,
                "grad_accum_steps": shape.in_turn,
                "out": str(here / "out.npz"),
                "cache": str(folder / "cache"),
                "broken": shape.broken,
            } | ({"norm": None if shape.norm == "whole" else int(shape.norm)} if shape.norm else {})
            (here / "job.json").write_text(json.dumps(job))
            words = ["tests.backends.world_run", str(here / "job.json")]
            codes = worlds.ended(worlds.start(words, shape.processes, here), 240)
            assert codes == [0] * shape.processes, worlds.told(here)
            with np.load(here / "out.npz") as arrays:
                known[shape] = dict(arrays)
        return known[shape]

    return run


def apart(one: Found, other: Found) -> float:
    """How far they are apart, relative to each array's largest number."""
    assert one.keys() == other.keys()
    scales = {name: max(float(np.abs(array).max()), 1e-30) for name, array in one.items()}
    return max(float(np.abs(one[name] - other[name]).max()) / scale for name, scale in scales.items())


def reference(shape: Shape) -> Shape:
    return Shape(batch_size=shape.batch_size, precision=shape.precision, norm=shape.norm)


@pytest.mark.backend
@pytest.mark.timeout(600)
def test_losses_gradients_weights_and_evaluation_are_those_of_one_device(runs: Runs, backend: str) -> None:
    for shape in SPREAD[backend]:
        whole, found = runs(reference(shape)), runs(shape)
        assert len(found["loss"]) == STEPS
        # The clip acts in the first step.
        assert found["grad_norm"][0] > 0.05
        assert any(name.startswith("gradient.optimizer/m/") for name in found)
        assert apart(whole, found) < 1e-12, str(shape)


@pytest.mark.backend
@pytest.mark.timeout(600)
def test_in_float32_too(runs: Runs, backend: str) -> None:
    shape = Shape(2 if backend != "jax" else 1, None if backend != "jax" else 2, precision="float32")
    whole, found = runs(reference(shape)), runs(shape)
    np.testing.assert_allclose(found["loss"], whole["loss"], rtol=1e-5)
    for name, array in whole.items():
        if name.startswith("student/"):
            assert np.abs(found[name] - array).max() <= 1e-5 * np.abs(array).max(), name


@pytest.mark.backend
@pytest.mark.timeout(600)
def test_what_is_spread_wrongly_is_noticed(runs: Runs, backend: str) -> None:
    for shape in BROKEN[backend]:
        assert apart(runs(reference(shape)), runs(shape)) > 1e-6, str(shape)


# A student with BatchNorm, over all devices or over so many examples.
NORMS = {
    "torch": [Shape(3, batch_size=25, norm="whole"), Shape(2, norm="6")],
    "jax": [Shape(2, 2, norm="whole"), Shape(1, 2, norm="6")],
    "tensorflow": [Shape(2, batch_size=25, norm="whole"), Shape(1, 2, norm="6")],
}


@pytest.mark.backend
@pytest.mark.timeout(600)
def test_batch_norm_has_the_statistics_that_the_spec_says(runs: Runs, backend: str) -> None:
    for shape in NORMS[backend]:
        whole, found = runs(reference(shape)), runs(shape)
        assert any("moving_variance" in name for name in found)
        assert apart(whole, found) < 1e-12, str(shape)

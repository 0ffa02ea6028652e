"""Whole small distillations against the authors' (trajectory_*.npz of tests/golden).

Weights are compared where no rounding was amplified yet: Adam turns a relative change of 1e-6 into one of the size of a
step. Each file's mixing factors are given to the batches; all else is computed.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from backends.base import Settings
from framework.models.bit import bit
from framework.models.initial import assign
from framework.protocols import Batch
from framework.spec import DistillSpec
from tests.recorded import recordings

GOLDEN = recordings("trajectory_")
CONFIGS = {file: json.loads(arrays["config"].item()) for file, arrays in GOLDEN.items()}
WARMED_UP = [file for file, config in CONFIGS.items() if config["warm"]]
# By whether student and teacher have views of their own, and whether these are mixed.
TEACHINGS = {
    (True, False): "independent",
    (True, True): "independent",
    (False, False): "consistent",
    (False, True): "funmatch",
}
Arrays = dict[str, np.ndarray]


class Trajectory:
    """A recorded run, and our trainer of the same."""

    def __init__(self, file: str, tiny: Any) -> None:
        self.arrays, self.config = GOLDEN[file], CONFIGS[file]
        self.steps = self.config["steps"]
        self.spec = self.spec_of(self.config)
        student, *teachers = (self.model(who) for who in self.models())
        self.trainer = tiny.backend.compile(
            self.spec, student, teachers, total_steps=self.config["total"], device=tiny.device
        )

    @staticmethod
    def spec_of(config: dict[str, Any]) -> DistillSpec:
        return DistillSpec.from_dict(
            {
                "student": {"name": "bit", "options": config["student"]},
                "teachers": [{"name": "bit", "options": config["teacher"]}] * config["teachers"],
                "teaching": TEACHINGS[config["views"], config["p"] > 0],
                "views": {"size": config["S"], "mixup": config["p"]},
                "loss": {"temperature": config["T"]},
                "optimizer": {"lr": config["lr"], "weight_decay": config["wd"], "moment_dtype": config["mu"]},
                "schedule": {"warmup_steps": config["warm"]},
                "duration": {"total_steps": config["total"]},
                "batch_size": config["B"],
            }
        )

    def models(self) -> list[str]:
        return ["student", *(f"teacher{place}" for place in range(self.config["teachers"]))]

    def model(self, who: str) -> Any:
        model = bit(self.config["C"], self.config["S"], **self.config["student" if who == "student" else "teacher"])
        assign(model, self.parameters(f"{who}/params0/"))
        return model

    def parameters(self, prefix: str) -> Arrays:
        return {key.removeprefix(prefix): self.arrays[key] for key in self.arrays.files if key.startswith(prefix)}

    def probed(self) -> set[int]:
        """The steps before which the head is at zero, and when it has moved: after the first with a learning rate."""
        moved = int(np.flatnonzero(self.arrays["steps/sched"])[0]) + 1
        return {0, moved} & set(range(self.steps))

    def batch(self, step: int) -> Batch:
        """A model's view is under its own name, or it is the image that all see."""
        keys = {who: f"batches/{step}/{who}" for who in self.models()}
        keys = {who: key if key in self.arrays else f"batches/{step}/image" for who, key in keys.items()}
        views = {key: self.arrays[key].astype(np.float32) / 255 * 2 - 1 for key in keys.values()}
        return Batch(views=tuple(views[key] for key in keys.values()), mix=float(self.arrays["steps/lam"][step]))

    def student(self) -> Arrays:
        prefix = "student/"
        return {k.removeprefix(prefix): v for k, v in self.trainer.state().items() if k.startswith(prefix)}


@pytest.fixture(scope="module", params=list(GOLDEN))
def played(request: pytest.FixtureRequest, engine: Any) -> tuple[Trajectory, list[dict[str, Any]]]:
    """The whole run: before each step what a probe sees, after it the metrics and the student's weights."""
    from tests.backends.tiny import Tiny

    run = Trajectory(request.param, Tiny(engine, engine.configure(Settings("cpu"))))
    records = []
    for step in range(run.steps):
        batch = run.batch(step)
        record: dict[str, Any] = {"teachers": run.trainer.teach(batch)}
        if step in run.probed():
            record["logits"] = run.trainer.probe(batch)["logits.student"]
        record["metrics"] = {name: float(value) for name, value in run.trainer.step(batch).items()}
        records.append(record | {"student": run.student()})
    return run, records


Played = tuple[Trajectory, list[dict[str, Any]]]


def test_losses_follow_the_authors(played: Played) -> None:
    run, records = played
    found = np.array([record["metrics"]["loss"] for record in records])
    expected = run.arrays["steps/loss"]
    np.testing.assert_allclose(found[:4], expected[:4], rtol=0, atol=1e-3 * max(1, run.config["T"]))
    later = np.abs(found[4:] - expected[4:])
    assert (later <= np.maximum(0.05 * expected[4:], 0.02)).all()


def test_gradient_norms_follow_the_authors(played: Played) -> None:
    run, records = played
    found = [record["metrics"]["grad_norm"] for record in records[:4]]
    np.testing.assert_allclose(found, run.arrays["steps/l2_grads"][:4], rtol=0.02)


def test_teachers_say_what_the_authors_do(played: Played) -> None:
    """In every step: they see the mixed views, each its own."""
    run, records = played
    found = np.array([record["teachers"] for record in records])
    np.testing.assert_allclose(found, run.arrays["steps/tlogits"], rtol=0, atol=5e-4)


def test_the_student_s_logits_equal_the_authors(played: Played) -> None:
    run, records = played
    for step in run.probed():
        np.testing.assert_allclose(records[step]["logits"], run.arrays["steps/logits"][step], rtol=0, atol=5e-4)


@pytest.mark.parametrize("played", WARMED_UP, indirect=True)
def test_the_first_step_of_a_warm_up_moves_nothing(played: Played) -> None:
    run, records = played
    for name, before in run.parameters("student/params0/").items():
        np.testing.assert_array_equal(records[0]["student"][name], before, err_msg=name)
    recorded = run.parameters("student/params_after_1/")
    assert recorded
    for name, after in recorded.items():
        np.testing.assert_array_equal(records[0]["student"][name], after, err_msg=name)


@pytest.mark.parametrize("played", WARMED_UP, indirect=True)
def test_the_second_step_moves_the_head_alone(played: Played) -> None:
    """The head starts at zero, so no gradient reaches the backbone: its kernels decay, the rest stays."""
    run, records = played
    start, recorded = run.parameters("student/params0/"), run.parameters("student/params_after_2/")
    assert set(recorded) == set(start)
    factor_of_step = run.arrays["steps/sched"][1]
    decay = 1 - factor_of_step * run.config["wd"]
    moved = set()
    for name, after in records[1]["student"].items():
        np.testing.assert_allclose(after, recorded[name], rtol=0, atol=1e-5, err_msg=name)
        if name.startswith("head/"):
            moved.add(name)
            assert np.abs(after - start[name]).max() > 0.1 * factor_of_step * run.config["lr"]
        else:
            factor = decay if name.endswith("kernel") else 1
            np.testing.assert_allclose(after, start[name] * factor, rtol=0, atol=1e-6, err_msg=name)
    assert moved == {"head/kernel", "head/bias"}


def test_the_weights_are_as_long_as_the_authors(played: Played) -> None:
    run, records = played
    lengths = [np.sqrt(sum(np.square(w).sum() for w in record["student"].values())) for record in records]
    np.testing.assert_allclose(lengths, run.arrays["steps/l2_params"], rtol=1e-4)


def test_every_step_moves_as_far_as_the_authors(played: Played) -> None:
    """The length of an update is known well even where its single weights are not."""
    run, records = played
    weights = [run.parameters("student/params0/"), *(record["student"] for record in records)]
    lengths = [
        np.sqrt(sum(np.square(new[name] - old[name]).sum() for name in new)) for old, new in itertools.pairwise(weights)
    ]
    np.testing.assert_allclose(lengths, run.arrays["steps/l2_updates"], rtol=0.02, atol=1e-4)

"""The command `plan`: its numbers are those of the run, it downloads nothing, and it says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import backends
from backends.base import Settings
from experiments import config
from experiments.distillation.options import RunOptions
from experiments.distillation.weights import located
from experiments.planning import estimates, plan
from experiments.tracking.unobserved import NoRecorder
from framework.data.counts import count
from framework.errors import UserError
from framework.files.arrays import write_arrays
from framework.models import cost
from framework.spec import DistillSpec

PETS = ("pet_fast", "teacher.weights=nowhere.npz")


@pytest.fixture
def planned(backend: str, tmp_path: Path) -> Any:
    """`planned(*words)`: the plan's lines by name, in a folder of its own."""

    def make(*words: str, steps: int = 0) -> Mapping[str, str]:
        spec, options = config.spec_and_options(config.read([*words, f"backend={backend}"])[0])
        lines = plan.lines(spec, options, tmp_path / "e", steps)
        named = {line[:14].strip(): line[14:] for line in lines}
        first = next(number for number, line in enumerate(lines) if line.startswith("missing here"))
        return named | {"missing here": "\n".join(line[14:] for line in lines[first:])}

    return make


def test_the_paper_s_recipe_without_its_data(planned: Any, tmp_path: Path) -> None:
    found = planned(*PETS)
    assert "3,312 training, 368 validation, 3,669 test examples, 37 classes" in found["data"]
    assert "6,469 steps of 512 = 1,000 epochs" in found["length"]
    assert "warm-up 1,500 steps (231.9 epochs), then cosine" in found["length"]
    assert "23,576,165 parameters, 2.67 GFLOP an image of 128 px" in found["student"]
    assert "232,389,797 parameters, 29.9 GFLOP" in found["teacher"]
    assert "19.4 TFLOP a step, 126 PFLOP in all" in found["work"]
    assert "weights nowhere.npz: there is no such file" in found["missing here"]
    assert "an accelerator: 126 PFLOP" in found["missing here"]
    assert "data timm/oxford-iiit-pet: not in" in found["missing here"]
    assert not (tmp_path / "e").exists()


def test_what_is_missing(planned: Any, tmp_path: Path) -> None:
    found = planned("digits", "device=gpu:99", "keep_checkpoints=1000000000000")["missing here"]
    assert "device = 'gpu:99' is not here" in found
    assert "the teacher 'digits': it is trained first, once, with digits_teacher" in found
    assert "room on the disk: about" in found
    assert planned("digits_labels")["missing here"] == "nothing"
    missing = planned("digits_labels", "student.weights=https://example.org/a.npz")["missing here"]
    assert missing.startswith("weights https://example.org/a.npz: not in ")


@pytest.fixture
def weights_url(tmp_path: Path, address: str) -> str:
    """The address of a file on a server of the test's own."""
    (tmp_path / "served" / "a.npz").write_bytes(b"x" * 100)
    return f"{address}/a.npz"


def test_weights_that_were_downloaded_are_not_missing(planned: Any, tmp_path: Path, weights_url: str) -> None:
    words = ("digits_labels", f"student.weights={weights_url}")
    assert "they are downloaded" in planned(*words)["missing here"]
    located(weights_url, tmp_path / "e")
    assert planned(*words)["missing here"] == "nothing"
    others = planned("digits_labels", f"student.weights={weights_url}#sha256={'0' * 64}")
    assert "they are downloaded" in others["missing here"]


def test_the_data_may_have_no_labels(planned: Any) -> None:
    found = planned("pet_fast", "data.labels=null", "data.train_from=ethz/food101")
    assert "68,175 training, 368 validation, 3,669 test examples, no labels" in found["data"]
    assert "23,576,165 parameters" in found["student"]


def test_timed_steps_of_a_small_recipe(planned: Any, backend: str) -> None:
    timed = planned("digits", steps=1)["time"]
    assert " s a step of 100, " in timed
    # As the run itself would take; JAX keeps the threads that the process's first device had.
    device = backends.load(backend).configure(Settings("cpu", 1))
    assert timed.endswith(f" ({backend}, {device})")
    fixed = planned("digits", "teaching=fixed", "batch_size=7", "compile=false", steps=1)["time"]
    assert " s a step of 7, " in fixed
    assert planned("digits")["time"].startswith("not timed (")


def test_mistakes_are_refused(planned: Any) -> None:
    with pytest.raises(UserError, match="did you mean 'kl'"):
        planned("digits", "loss.distance=kll")
    with pytest.raises(UserError, match="the catalogue doesn't list its size"):
        planned("digits", "data=somebody/else")


def test_a_checkpoint_is_as_large_as_it_says(backend: str, tmp_path: Path) -> None:
    from experiments.distillation.prepare import prepare

    spec = config.recipe_spec("digits_labels")
    ready = prepare(spec, RunOptions(backend=backend, device="cpu"), root=tmp_path)
    write_arrays(tmp_path / "state", ready.trainer.state(), {})
    expected = estimates.checkpoint(spec, cost.of(ready.student))
    assert expected < (tmp_path / "state").stat().st_size < expected + 20_000


@pytest.mark.parametrize("splits", [["validation"], ["train", "validation", "test"]])
def test_evaluations_are_counted_as_they_are_made(backend: str, tmp_path: Path, splits: list[str]) -> None:
    from experiments.distillation.prepare import prepare

    words = {"duration": {"total_steps": 12}, "schedule": {"warmup_steps": 2}}
    changes = {**words, "evaluation": {"num_times": 3, "train_subset": 50, "splits": splits}}
    spec = DistillSpec.from_dict(config.recipe_spec("digits_labels").to_dict() | changes)
    ready = prepare(spec, RunOptions(backend=backend, device="cpu"), root=tmp_path)
    seen, evaluate = [], ready.trainer.evaluate

    def counted(batches: Any) -> Any:
        kept = list(batches)
        seen.append(sum(int(batch.mask.sum()) for batch in kept))
        return evaluate(kept)

    ready.trainer.evaluate = counted
    assert ready.run(NoRecorder(), None, quiet=True).status == "COMPLETED"
    assert sum(seen) == estimates.evaluation_macs(spec, count(spec.data, tmp_path), 1, 0)
    assert estimates.evaluation_macs(spec, count(spec.data, tmp_path), 0, 1) == 50 + 297 + 900


def test_a_step_on_a_cpu_is_timed_on_few_examples() -> None:
    from backends.base import Device

    spec = config.recipe_spec("pet_fast")
    large = cost.Cost(1, 1, 10**10, 1, 1)
    cpu, gpu = (Device(kind, f"{kind}:0", kind, 1, None) for kind in ("cpu", "gpu"))
    assert estimates.timed_batch(spec, large, [], cpu) == 2
    assert estimates.timed_batch(spec, large, [], gpu) == 512
    assert estimates.timed_batch(spec, cost.Cost(1, 1, 10**7, 1, 1), [], cpu) == 512


def test_targets_that_are_made_before_are_work_too(planned: Any) -> None:
    words = ("pet_fast", "teaching=fix/ic_ens", "views.target_crops=10")
    before, longer = planned(*words), planned(*words, "duration.total_epochs=2000")
    # 3312 images seen ten times by a teacher of 29.9 GFLOP, and 6469 steps of 512 examples at three times 2.67 GFLOP.
    assert "4.1 TFLOP a step, 27.5 PFLOP in all" in before["work"]
    assert "4.1 TFLOP a step, 54 PFLOP in all" in longer["work"]
    assert " s a step of 100, " in planned("digits", "teaching=fix/ic_ens", steps=1)["time"]


def test_a_teacher_s_own_size(planned: Any) -> None:
    found = planned("imagenet", "views.size=160", "views.teacher_size=224")
    assert "25,549,352 parameters, 4.17 GFLOP an image of 160 px" in found["student"]
    assert "236,335,208 parameters, 91.6 GFLOP an image of 224 px" in found["teacher"]


@pytest.mark.backend
def test_the_command(here: Any) -> None:
    done = here("experiments.run", "plan", "-T", "0", "with", "digits", f"backend={here.backend}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data          digits: 100 training, ")
    assert "time          not timed (" in done.stdout


def test_the_number_of_timed_steps_is_a_number() -> None:
    with pytest.raises(UserError, match="--timed-steps x: expected a whole number"):
        plan.timed_steps.apply("x", None)

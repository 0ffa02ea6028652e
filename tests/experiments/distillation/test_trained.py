"""Teachers that are trained when they are first asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from experiments.config import recipe_spec
from experiments.distillation import trained
from experiments.distillation.naming import find, trained_folder
from experiments.distillation.options import RunOptions
from experiments.distillation.trained import train_missing
from framework.errors import UserError
from framework.files import stored
from framework.files.arrays import write_arrays
from framework.spec import DataSpec, DistillSpec, DurationSpec, ModelSpec, TeacherSpec
from tests.experiments.distillation.small import CARD

SPEC = DistillSpec.from_dict({"teachers": [{"name": "digits"}, {"name": "own:build"}]})


@pytest.mark.backend
def test_a_teacher_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    from experiments.recipes import RECIPES

    short = RECIPES["digits_teacher"] | {"duration": {"total_steps": 3}, "schedule": {"warmup_steps": 1}}
    monkeypatch.setitem(RECIPES, "digits_teacher", short)
    told: list[str] = []
    options = RunOptions(backend=backend)
    for _ in range(2):
        train_missing(SPEC, options, tmp_path, told.append)
    first = find("digits", tmp_path)
    assert first is not None
    assert told == ["training the teacher 'digits_teacher', once"]
    card = stored.load_card(first)
    assert (card.result["steps"], card.num_classes) == (3, 10)
    assert card.made_by == "python -m experiments.teacher with digits_teacher"
    assert first.name == f"digits_teacher-{card.fingerprint}"


def weights(folder: Path) -> Path:
    """A file of weights that fit no student of ten classes."""
    write_arrays(folder / "w.safetensors", {"head/bias": np.zeros(3, np.float32)}, {})
    return folder / "w.safetensors"


@pytest.mark.backend
def test_parts_that_cannot_be_are_refused_before_a_teacher_is_trained(tmp_path: Path, backend: str) -> None:
    spec = recipe_spec("digits")
    normed = replace(spec, student=ModelSpec(name="tests.backends.tiny:normed"))
    told: list[str] = []
    for each, parts, message in (
        (spec, 3, "grad_accum_steps = 3: allowed are divisors of batch_size"),
        (normed, 2, r"grad_accum_steps = 2: .*moving_mean.* batch_norm_size=50"),
        (replace(normed, batch_norm_size=25), 2, "grad_accum_steps = 2: batch_norm_size = 25 makes it 4"),
    ):
        with pytest.raises(UserError, match=message):
            trained.data_for(each, RunOptions(backend=backend, grad_accum_steps=parts), tmp_path / "e", told.append)
    assert not any("training the teacher" in line for line in told)


@pytest.mark.backend
def test_the_data_are_looked_at_before_a_teacher_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    from experiments.recipes import RECIPES

    short = RECIPES["digits_teacher"] | {"duration": {"total_steps": 3}, "schedule": {"warmup_steps": 1}}
    monkeypatch.setitem(RECIPES, "digits_teacher", short)
    spec, told = recipe_spec("digits"), list[str]()
    mistakes = {
        "have 33: train one: python -m experiments.teacher with data=glyphs": {"data": DataSpec(name="glyphs")},
        "has no split 'nosuch'": {"data": DataSpec(name="digits", test="nosuch")},
        "widths=\\[0\\]": {"student": ModelSpec(options={"widths": [0]})},
        "warmup_steps = 50: the run has only 10 steps": {"duration": DurationSpec(total_epochs=10)},
        "the arrays don't fit model 'convnet'": {"student": ModelSpec(weights=str(weights(tmp_path)))},
    }
    for message, changes in mistakes.items():
        with pytest.raises(UserError, match=message):
            trained.data_for(spec.replace(**changes), RunOptions(backend=backend), tmp_path, told.append)
    assert not (tmp_path / "teachers").exists()
    for labels in ("auto", None):
        found = spec.replace(data=DataSpec(name="digits", labels=labels))
        splits = trained.data_for(found, RunOptions(backend=backend), tmp_path / str(labels), told.append)
        assert splits.name == "digits"
        assert stored.is_stored(trained_folder("digits", tmp_path / str(labels)))
    assert [line for line in told if line.startswith("training")] == ["training the teacher 'digits_teacher', once"] * 2


@pytest.mark.backend
@pytest.mark.parametrize("teacher", ["digits", "stored", "named"])
def test_a_teacher_of_other_names_is_refused_before_images_are_decoded(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """As many classes, called in another way: those of a teacher that isn't trained yet, of a stored one, of a file."""
    from PIL import Image

    for shade, name in enumerate("abcdefghij"):
        (tmp_path / "my letters" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 20 * shade).save(tmp_path / "my letters" / name / "0.png")
    monkeypatch.chdir(tmp_path)
    names = tuple("ABCDEFGHIK")
    stored.save(tmp_path / "stored", replace(CARD, classes=names, num_classes=10), {})
    (tmp_path / "names.txt").write_text("\n".join(names))
    spec = recipe_spec("digits").replace(
        data=DataSpec(name="my letters", validation=None, test=None),
        teachers=(
            TeacherSpec(name="convnet", classes="names.txt") if teacher == "named" else TeacherSpec(name=teacher),
        ),
    )
    told = "no class 'a', .* or train one: python -m experiments.teacher with 'data=my letters'"
    told = told if teacher == "digits" else told.replace("'a', .*", "'j' .*")
    with pytest.raises(UserError, match=told):
        trained.data_for(spec, RunOptions(backend=backend), tmp_path / "e")
    assert not (tmp_path / "e/cache/decoded").exists()
    in_order = spec.replace(teachers=(replace(spec.teachers[0], name="stored", classes="data"),))
    assert trained.data_for(in_order, RunOptions(backend=backend), tmp_path / "e").classes == tuple("abcdefghij")


def test_another_process_that_trains_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = trained_folder("digits", tmp_path), list[str]()
    folder.parent.mkdir()
    other = FileLock(folder.with_suffix(".lock"))
    other.acquire()

    def tell(line: str) -> None:
        told.append(line)
        stored.save(folder, CARD, {})
        other.release()

    train_missing(SPEC, RunOptions(), tmp_path, tell)
    assert told == ["waiting for another process that is training the teacher 'digits_teacher'"]
    other.acquire()
    monkeypatch.setattr(trained, "_PATIENCE", 0.0)
    with pytest.raises(TimeoutError, match=r"another process has been training .*digits_teacher-\w+ for 0 s"):
        train_missing(SPEC, RunOptions(), tmp_path)
    other.release()

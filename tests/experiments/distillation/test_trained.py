"""Teachers that are trained when they are first asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from experiments.distillation import trained
from experiments.distillation.options import RunOptions
from experiments.distillation.teachers import find, trained_folder
from experiments.distillation.trained import train_missing
from framework.files import stored
from framework.spec import DistillSpec
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
    assert told == ["waiting for another process that trains the teacher 'digits_teacher'"]
    other.acquire()
    monkeypatch.setattr(trained, "_PATIENCE", 0.0)
    with pytest.raises(TimeoutError, match=r"another process has been training .*digits_teacher-\w+ for 0 s"):
        train_missing(SPEC, RunOptions(), tmp_path)
    other.release()

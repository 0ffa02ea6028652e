"""Runs of all kinds in their journals, as the training loop tells them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.config import read
from experiments.distillation import answers
from experiments.tracking.folders import new_run_folder
from experiments.tracking.recorder import JournalRecorder
from tests.experiments.reports.noise import noise

# What must stay text on a page.
NASTY = "</script><img src=x onerror=\"document.title='broken'\"> @DATA@ & <!--"
STEPS = 100


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten runs: three data and teachings, one without a teacher, one that failed, one that another went on from."""
    folder = tmp_path_factory.mktemp("reported")
    for seed in range(3):
        journaled(folder, "digits", f"seed={seed}", f"optimizer.lr={0.01 / (seed + 1)}", accuracy=0.9 - 0.1 * seed)
    for seed in range(3):
        journaled(folder, "glyphs", f"seed={seed}", "teaching=consistent", accuracy=0.5 + 0.1 * seed)
    journaled(folder, "digits_labels", accuracy=0.45, taught=False)
    journaled(folder, "digits", "seed=7", accuracy=None)
    first = journaled(folder, "digits", "seed=8", accuracy=None, status="INTERRUPTED", until=60, comment=NASTY)
    sheet = new_sheet(journaled(folder, "digits", "seed=8", accuracy=0.95, after=(first, 40)))
    assert sheet.is_file()
    return folder


def new_sheet(folder: Path) -> Path:
    Image.fromarray(np.full((40, 80, 3), 200, np.uint8)).save(folder / "views.png")
    return folder / "views.png"


def journaled(
    root: Path,
    *words: str,
    accuracy: float | None,
    taught: bool = True,
    status: str = "FAILED",
    until: int = STEPS,
    comment: str | None = None,
    after: tuple[Path, int] | None = None,
) -> Path:
    """One run; without an accuracy it has no result, and another status."""
    folder, (recipe, *rest) = new_run_folder(root), words
    config, _, _ = read([recipe, *rest, "backend=torch"])
    random = np.random.default_rng(len(list(root.iterdir())))
    with JournalRecorder(folder) as recorder:
        meta = {"named_configs": [recipe], "config_updates": {}, "options": {"--comment": comment}}
        host = {"hostname": "here", "os": ["Linux", "x"], "cpu": "some"}
        recorder.record("run", experiment={"name": "run"}, command="main", host=host, config=config, meta=meta)
        recorder.started(config, {"backend": "torch", "versions": {"torch": "2.0"}, "fingerprint_no_seed": recipe})
        if after is not None:
            recorder.annotate(resumed_from=after[0].name, root_run=after[0].name, resumed_at=after[1])
        for step in range(after[1] + 1 if after else 1, until + 1):
            recorder.metrics(step, {"train.loss": 10 / step, "train.grad_norm": float(random.random())})
            if step % 10 == 0:
                recorder.metrics(step, measured("validation", step / 200, taught))
        if accuracy is not None:
            ended(recorder, random, accuracy, taught)
        else:
            recorder.ended(status, None, ["Traceback\n", "FloatingPointError: the loss is NaN\n"])
    return folder


def ended(recorder: JournalRecorder, random: np.random.Generator, accuracy: float, taught: bool) -> None:
    splits, found = noise(random, 200, 5, taught)
    recorder.artifact(answers.write(recorder.folder / answers.FILE, "test", splits, found))
    result: dict[str, Any] = {"examples": 200.0, "student": {"accuracy": accuracy, "kl": 1 - accuracy}}
    result |= {"teacher": {"accuracy": 0.97}} if taught else {}
    recorder.ended("COMPLETED", {"steps": STEPS, "test": result})


def measured(split: str, accuracy: float, taught: bool) -> Mapping[str, float]:
    found = {f"{split}.student.accuracy": accuracy, f"{split}.student.loss": 1 - accuracy}
    return found | ({f"{split}.student.kl": 1 - accuracy, f"{split}.teacher.accuracy": 0.97} if taught else {})

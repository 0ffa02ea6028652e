"""The paper's kinds of experiments on small folders, as docs/reproduction.md says them: each trains and is measured."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import config, distill

pytestmark = pytest.mark.backend
PAGE = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## On your own folders")[2].partition("\n## ")[0]
TRAINED = re.findall(r"^    python -m experiments.teacher with (.+)$", SECTION, re.MULTILINE)
COMMANDS = re.findall(r"`RUN ([^`]+)`", SECTION)
WIDTHS = "student.options.widths"
# As small as they can be, whatever the page says for people.
SMALL = {
    "views.size": 16,
    WIDTHS: [4],
    "duration.total_steps": 2,
    "schedule.warmup_steps": 1,
    "batch_size": 4,
    "evaluation.train_subset": 4,
    "evaluation.batch_size": 4,
    "evaluation.num_times": 0,
    "views.target_crops": 3,
}
CLASSES = ("ant", "bee", "cat")


def write(folder: Path, classes: tuple[str, ...], count: int) -> None:
    """Noise of all sizes and shapes, a folder a class."""
    rng = np.random.default_rng(len(classes))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (*rng.integers(20, 60, 2), 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


def run(command: str, backend: str, folder: Path | None = None) -> dict[str, Any]:
    """What a command gives at the size of a test; the number of pixels is the command's, if it says one."""
    words = [word for word in shlex.split(command) if not word.startswith(WIDTHS)]
    small = [f"{key}={value}" for key, value in SMALL.items() if f" {key}=" not in " ".join(words)]
    spec, _ = config.spec_and_options(config.read([*words, *small])[0])
    _, result = distill(spec, folder=folder, quiet=True, backend=backend, device="cpu", compile=False)
    return result


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, backend: str) -> Iterator[dict[str, str]]:
    """The folders of the models that the page trains first, by name, in a working folder with `photos` and `others`."""
    place = tmp_path_factory.mktemp("small")
    for part, count in (("photos/train", 6), ("photos/test", 2), ("others", 6)):
        write(place / part, CLASSES[: 2 if part == "others" else 3], count)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("EXPERIMENTS_DIR", str(place / "e"))
        names = ("TEACHER", "UPSTREAM")
        for name, command in zip(names, TRAINED, strict=True):
            run(f"glyphs_teacher {command}", backend, place / name)
        yield {name: str(place / name / "student") for name in names}


def test_the_page_has_all_teachings() -> None:
    from framework.spec.teachings import ALIASES, TEACHINGS

    said = set(re.findall(r"teaching=([\w/,]+)", " ".join(COMMANDS)))
    assert said | {"same/ic,mix"} == {name for name in (*TEACHINGS, *ALIASES) if "/" in name}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_experiment_runs(models: dict[str, str], command: str, backend: str) -> None:
    for name, folder in models.items():
        command = command.replace(name, folder)
    result = run(command, backend)
    assert result["steps"] == SMALL["duration.total_steps"]
    assert result["test"]["examples"] == 6
    assert 0 <= result["test"]["student"]["accuracy"] <= 1
    assert ("teacher" in result["test"]) == ("glyphs_labels" not in command)

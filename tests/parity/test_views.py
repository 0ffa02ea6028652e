"""Every backend renders the same views, to the last bit of float32: their SHA-256 are equal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.views import main


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    monkeypatch.chdir(tmp_path)


def test_views_of_the_compiled_step_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["digits", "teaching=independent", "views.mixup=1.0", "views.augmentations=['brightness','grayscale']"]
    assert main(["with", *words, "views.flip=true", "--steps", "0,9", "--compare"]) == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith("the same views: jax, torch, tensorflow")
    exact, near = out.split("\n\n")[:2]
    # Two steps, each with its draws, the student's views and the teacher's.
    assert [line.count("equal") for line in exact.splitlines()[2:]] == [2] * 6
    assert near.startswith("float32")


def test_views_from_the_host_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (100 + number, 130, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    words = ["data=./photos", "data.labels=null", "data.validation=none", "views.size=16", "batch_size=4"]
    assert main(["with", *words, "--steps", "2", "--compare", "--backends", "torch,tensorflow", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["count"] for each in found if each["who"] == "student"} == {4}
    assert all(each["ok"] for each in found)

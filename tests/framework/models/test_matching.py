"""Other libraries' names and layouts, as a model's own."""

from __future__ import annotations

import numpy as np
import pytest

from framework.models.matching import matched

WANTED = {
    "stage1/conv1/kernel": (3, 5, 2, 7),
    "stage1/norm1/scale": (1, 1, 1, 7),
    "stage1/norm1/bias": (1, 1, 1, 7),
    "norm-pre-head/scale": (1, 1, 1, 7),
    "depthwise/kernel": (3, 3, 1, 7),
    "norm/moving_variance": (1, 1, 1, 7),
    "head/kernel": (7, 4),
    "head/bias": (4,),
}
# By its own name each array is what the model has; these are the same as PyTorch and Keras hold them.
TORCH = {
    "stage1/conv1/weight": lambda own: own["stage1/conv1/kernel"].transpose(3, 2, 0, 1),
    "stage1/norm1/weight": lambda own: own["stage1/norm1/scale"].reshape(-1),
    "stage1/norm1/bias": lambda own: own["stage1/norm1/bias"].reshape(-1),
    "norm_pre_head/weight": lambda own: own["norm-pre-head/scale"].reshape(-1),
    "depthwise/weight": lambda own: own["depthwise/kernel"].transpose(3, 2, 0, 1),
    "norm/running_var": lambda own: own["norm/moving_variance"].reshape(-1),
    "norm/num_batches_tracked": lambda own: np.zeros((), np.int64),
    "head/weight": lambda own: own["head/kernel"].T,
    "head/bias": lambda own: own["head/bias"],
}
KERAS = {
    "stage1_conv1/kernel": lambda own: own["stage1/conv1/kernel"],
    "stage1_norm1/gamma": lambda own: own["stage1/norm1/scale"].reshape(-1),
    "stage1_norm1/beta": lambda own: own["stage1/norm1/bias"].reshape(-1),
    "norm-pre-head/gamma": lambda own: own["norm-pre-head/scale"].reshape(-1),
    "depthwise/kernel": lambda own: own["depthwise/kernel"].transpose(0, 1, 3, 2),
    "norm/moving_variance": lambda own: own["norm/moving_variance"].reshape(-1),
    "head/kernel": lambda own: own["head/kernel"],
    "head/bias": lambda own: own["head/bias"],
}


@pytest.fixture
def own() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in WANTED.items()}


@pytest.mark.parametrize("library", [TORCH, KERAS], ids=["torch", "keras"])
def test_names_and_layouts_of_other_libraries(own: dict[str, np.ndarray], library: dict) -> None:
    found, renamed = matched({name: of(own) for name, of in library.items()}, WANTED)
    assert found.keys() == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert len(renamed) == len(library.keys() - own.keys() - {"norm/num_batches_tracked"})
    assert all(" is " in text for text in renamed)


def test_names_that_fit_are_left_as_they_are(own: dict[str, np.ndarray]) -> None:
    found, renamed = matched(own, WANTED)
    assert (found, renamed) == (own, [])
    # A module of PyTorch's own as the model: its kernels are not turned around.
    square = {"fc/weight": np.arange(4.0).reshape(2, 2), "fc/bias": np.zeros(2)}
    found, renamed = matched(square, {name: array.shape for name, array in square.items()})
    np.testing.assert_array_equal(found["fc/weight"], square["fc/weight"])
    assert renamed == []
    # Nor where the model has something that the file hasn't.
    found, _ = matched(square, {name: array.shape for name, array in square.items()} | {"draws": (2,)})
    np.testing.assert_array_equal(found["fc/weight"], square["fc/weight"])


def test_a_counter_that_the_model_has_is_kept() -> None:
    found, _ = matched({"1/num_batches_tracked": np.array(3)}, {"1/num_batches_tracked": (), "draws": (2,)})
    assert found["1/num_batches_tracked"] == 3


def test_what_is_not_recognised_keeps_its_name(own: dict[str, np.ndarray]) -> None:
    other = np.zeros(3)
    found, renamed = matched({"stage9/conv1/weight": other, "head/bias": own["head/bias"]}, WANTED)
    assert list(found) == ["stage9/conv1/weight", "head/bias"]
    assert renamed == []
    # Two that come to one name: neither is taken for the other.
    found, renamed = matched({"head/bias": own["head/bias"], "head.bias": other}, WANTED)
    assert set(found) == {"head/bias", "head.bias"}
    np.testing.assert_array_equal(found["head/bias"], own["head/bias"])

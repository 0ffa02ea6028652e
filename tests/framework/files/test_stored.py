"""A stored model is what its card says, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from framework.errors import UserError
from framework.files import stored
from framework.files.arrays import digest
from framework.files.stored import CARD, WEIGHTS, ModelCard

GIVEN = ModelCard(
    name="convnet", options={"widths": [4]}, classes=("a", "b"), num_classes=2, image_size=8, result={"steps": 3}
)
ARRAYS = {"head/kernel": np.ones((4, 2), np.float16), "count": np.asarray(3, np.int32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stored.save(tmp_path / "teacher", GIVEN, ARRAYS)
    return tmp_path / "teacher"


def test_card_and_weights_come_back(folder: Path) -> None:
    assert stored.is_stored(folder)
    card = stored.load_card(folder)
    assert card.sha256 == digest(folder / WEIGHTS)
    assert card == ModelCard(**{**vars(GIVEN), "sha256": card.sha256})
    found = stored.load_weights(folder, card)
    np.testing.assert_array_equal(found["head/kernel"], np.ones((4, 2)))
    assert {name: array.dtype.name for name, array in found.items()} == {"head/kernel": "float32", "count": "int32"}


def test_save_returns_the_card_that_is_on_disk(tmp_path: Path) -> None:
    assert stored.save(tmp_path, GIVEN, ARRAYS) == stored.load_card(tmp_path)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    card = stored.save(tmp_path, GIVEN, {"a": np.array([0.5, 3.0], ml_dtypes.bfloat16)})
    found = stored.load_weights(tmp_path, card)["a"]
    assert (found.dtype, found.tolist()) == (np.float32, [0.5, 3.0])


def test_the_same_weights_have_the_same_hash(tmp_path: Path) -> None:
    assert stored.save(tmp_path / "a", GIVEN, ARRAYS).sha256 == stored.save(tmp_path / "b", GIVEN, ARRAYS).sha256
    other = ARRAYS | {"count": np.asarray(4, np.int32)}
    assert stored.save(tmp_path / "c", GIVEN, other).sha256 != stored.load_card(tmp_path / "a").sha256


def test_a_folder_without_a_model_is_a_mistake(tmp_path: Path) -> None:
    assert not stored.is_stored(tmp_path)
    with pytest.raises(UserError, match=r"no model in .*: expected model\.json and weights\.safetensors"):
        stored.load_card(tmp_path)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    stored.save(tmp_path / "other", GIVEN, {"a": np.zeros(3)})
    (tmp_path / "other" / WEIGHTS).replace(folder / WEIGHTS)
    with pytest.raises(UserError, match=r"has the SHA-256 \w{16}\.\.\., its card says \w{16}\.\.\."):
        stored.load_weights(folder, stored.load_card(folder))


def test_damaged_and_missing_weights_are_refused(folder: Path) -> None:
    card = stored.load_card(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(UserError, match=r"can't be read.*damaged"):
        stored.load_weights(folder, card)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match="can't be read"):
        stored.load_weights(folder, card)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[]", "expected keys and values"),
        (b'{"name": "a", "num_classes": 2, "image_size": 8, "nam": 1}', "unknown key 'nam'"),
        (b'{"name": "a"}', "num_classes is missing"),
    ],
)
def test_a_bad_card_is_refused(folder: Path, content: bytes, told: str) -> None:
    (folder / CARD).write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        stored.load_card(folder)
    assert str(folder / CARD) in str(caught.value)


def test_the_card_is_readable_json(folder: Path) -> None:
    values = json.loads((folder / CARD).read_text())
    assert values["classes"] == ["a", "b"]
    assert values["options"] == {"widths": [4]}

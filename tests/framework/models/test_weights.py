"""Published layouts of weights against what the authors' loader makes of them (legacy_bit_*.npz of tests/golden)."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from framework.errors import UserError
from framework.files.arrays import write_arrays
from framework.models import initial, weights
from framework.models.bit import bit
from tests.recorded import FOLDER, recordings

WEIGHTS, EXPECTED = "_weights", "_expected"
GOLDEN = recordings("legacy_bit_")
NAMES = [file.removesuffix(WEIGHTS) for file in GOLDEN if file.endswith(WEIGHTS)]
Legacy = tuple[Path, dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=NAMES)
def legacy(request: pytest.FixtureRequest) -> Legacy:
    """A file of weights, and what the authors make of it."""
    return FOLDER / f"{request.param}{WEIGHTS}.npz", dict(GOLDEN[f"{request.param}{EXPECTED}"])


def model_of(expected: dict[str, np.ndarray], **changes: Any) -> Any:
    return bit(image_size=expected["image"].shape[1], **json.loads(str(expected["config"])) | changes)


def test_legacy_names_shapes_and_sums_are_the_authors(legacy: Legacy) -> None:
    path, expected = legacy
    arrays = weights.read(path)
    assert sorted(arrays) == expected["converted_names"].tolist()
    for index, name in enumerate(expected["converted_names"].tolist()):
        assert list(arrays[name].shape) == json.loads(str(expected["converted_shapes"][index]))
        wide = arrays[name].astype(np.float64)
        np.testing.assert_allclose(wide.sum(), expected["converted_sum"][index], rtol=1e-9)
        np.testing.assert_allclose(np.abs(wide).sum(), expected["converted_abs_sum"][index], rtol=1e-9)


def test_legacy_weights_give_the_authors_logits(legacy: Legacy, compiled: Any) -> None:
    path, expected = legacy
    model = model_of(expected)
    initial.assign(model, weights.read(path))
    logits = compiled(model, model, expected["image"])
    np.testing.assert_allclose(logits, expected["logits"], atol=2e-4, rtol=1e-4)


def test_another_head_keeps_its_own(legacy: Legacy) -> None:
    path, expected = legacy
    features, classes = expected["pre_logits"].shape[1], expected["logits"].shape[1]
    model = model_of(expected, num_classes=classes + 3)
    message = f"head/kernel is ({features}, {classes + 3}), the array is ({features}, {classes})"
    with pytest.raises(UserError, match=re.escape(message)):
        initial.assign(model, weights.read(path))
    initial.assign(model, weights.read(path), dont_load=["head/.*"])


@pytest.mark.parametrize("prefix", ["", "params/", "opt/target/"])
def test_big_vision_names_lose_their_prefix(prefix: str, tmp_path: Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    extra = {"opt/step": np.int64(3)} if prefix else {}
    np.savez(tmp_path / "w.npz", **{f"{prefix}head/kernel": kernel, **extra})
    arrays = weights.read(tmp_path / "w.npz")
    assert list(arrays) == ["head/kernel"]
    np.testing.assert_array_equal(arrays["head/kernel"], kernel)


def test_bfloat16_comes_back_from_void(tmp_path: Path) -> None:
    exact = np.array([[1.0, -2.5], [0.0078125, -np.inf]], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype(np.uint16).view("V2")
    np.savez(tmp_path / "w.npz", **{"head/kernel": halves})
    found = weights.read(tmp_path / "w.npz")["head/kernel"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ("legacy", "ours"),
    [
        ("resnet/block3/unit12/a/standardized_conv2d_104/kernel", "block3/unit12/conv1/kernel"),
        ("resnet/block1/unit01/a/proj/standardized_conv2d_3/kernel", "block1/unit01/conv_proj/kernel"),
        ("resnet/block1/unit01/c/group_norm/beta", "block1/unit01/gn3/bias"),
        ("resnet/block1/unit01/d/group_norm/beta", None),
        ("resnet/block1/unit01/a/standardized_conv2d/bias", None),
    ],
)
def test_legacy_names(legacy: str, ours: str | None) -> None:
    assert weights.from_legacy(legacy) == ours


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        weights.read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"not an \.npz archive of plain arrays"):
        weights.read(tmp_path / "text.npz")
    np.savez(tmp_path / "pickled.npz", **{"head/kernel": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match=r"not an \.npz archive of plain arrays"):
        weights.read(tmp_path / "pickled.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"not an \.npz archive of plain arrays"):
        weights.read(tmp_path / "single.npy")
    np.savez(tmp_path / "other.npz", **{"resnet/block1/unit01/a/dense/kernel": np.zeros(3)})
    with pytest.raises(UserError, match="is not a parameter of a BiT network in the legacy layout"):
        weights.read(tmp_path / "other.npz")
    twice = {f"resnet/head/conv2d{suffix}/bias": np.zeros(3) for suffix in ("", "_1")}
    np.savez(tmp_path / "twice.npz", **twice)
    with pytest.raises(UserError, match="two arrays map to 'head/bias'"):
        weights.read(tmp_path / "twice.npz")


def test_a_file_that_would_unpack_to_an_absurd_size_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, **{"head/kernel": np.zeros(2**27, np.uint8)})
    assert bomb.stat().st_size < 2**20
    with pytest.raises(
        UserError, match=r"not an \.npz archive of plain arrays \([\d,]+ bytes that would unpack to 134,"
    ):
        weights.read(bomb)
    # Little is said to be in it, and much is asked for.
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("head/kernel.npy", buffer.getvalue().replace(b"(3,), }      ", b"(3%s,), }" % (b"0" * 13)))
    with pytest.raises(UserError, match=r"not an \.npz archive of plain arrays"):
        weights.read(tmp_path / "liar.npz")
    # A model that has not begun to learn its head is no bomb.
    arrays = {"head/kernel": np.zeros((2048, 1000), np.float32)}
    np.savez_compressed(tmp_path / "zeros.npz", **arrays)
    assert weights.read(tmp_path / "zeros.npz")["head/kernel"].shape == (2048, 1000)


ARRAYS = {"body.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.zeros(2, np.float16)}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_any_safetensors_are_weights(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "a.safetensors"
    save_file(ARRAYS, path, metadata=metadata)
    found = weights.read_any(path)
    assert list(found) == ["body/0/weight", "head/bias"]
    np.testing.assert_array_equal(found["body/0/weight"], ARRAYS["body.0.weight"])
    path.rename(tmp_path / "without_a_suffix")
    assert list(weights.read_any(tmp_path / "without_a_suffix")) == list(found)


def test_wrappers_of_modules_leave_no_prefix(tmp_path: Path) -> None:
    save_file({f"module.{name}": array for name, array in ARRAYS.items()}, tmp_path / "a.safetensors")
    assert list(weights.read_any(tmp_path / "a.safetensors")) == ["body/0/weight", "head/bias"]


def test_our_own_files_are_still_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"a/b": np.zeros(4, np.float32)}, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="array 'a/b' does not verify"):
        weights.read_any(path)


@pytest.mark.parametrize(
    ("name", "content", "told", "damaged"),
    [
        ("a.safetensors", b"x", "damaged", True),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5 files can't be read; allowed: .safetensors", False),
        ("a.txt", b"what is this", "not a file of weights; allowed: .safetensors", False),
        ("a.npz", b"PK\x03\x04", "damaged", True),
    ],
)
def test_a_file_is_told_for_what_it_is(tmp_path: Path, name: str, content: bytes, told: str, damaged: bool) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        weights.read_any(tmp_path / name)
    assert ("damaged" in str(caught.value)) == damaged


def test_a_cut_file_of_others_is_damaged_and_an_unknown_dtype_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(ARRAYS, path)
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    with pytest.raises(UserError, match="is damaged"):
        weights.read_any(path)
    path.write_bytes(content.replace(b'"F16"', b'"F99"'))
    with pytest.raises(UserError, match=r"a\.safetensors': arrays of F99 can't be read"):
        weights.read_any(path)


def test_files_of_another_librarys_name_its_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_readers", [])
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(UserError, match=r"PyTorch's files need backend=torch; or save it as \.safetensors"):
        weights.read_any(tmp_path / "a.pt")

"""Files of weights: what fits and what is refused, where they come from, and what identifies them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments.distillation import teachers, weights
from framework.data.source import Splits
from framework.errors import UserError
from framework.files import stored
from framework.files.arrays import DamagedFile, digest, read_arrays, write_arrays
from framework.spec import DistillSpec
from tests.experiments.distillation.small import CARD, build, values_of

pytestmark = pytest.mark.backend


def test_the_digest_is_of_names_and_values() -> None:
    assert weights.digest(build()) == weights.digest(build())
    assert len({weights.digest(each) for each in (build(), build(3), build(seed=1))}) == 3


def test_fill_takes_all_but_a_head_of_other_classes(tmp_path: Path) -> None:
    arrays = values_of(build(seed=1))
    stored.save(tmp_path / "folder", CARD, arrays)
    write_arrays(tmp_path / "file.safetensors", arrays, {})
    for path in (tmp_path / "folder", tmp_path / "file.safetensors"):
        same, other = build(), build(5)
        head = values_of(other)["head/kernel"]
        weights.fill(same, path, 2)
        weights.fill(other, path, 5)
        for name, array in arrays.items():
            np.testing.assert_array_equal(values_of(same)[name], array)
            if not name.startswith("head/"):
                np.testing.assert_array_equal(values_of(other)[name], array)
        np.testing.assert_array_equal(values_of(other)["head/kernel"], head)


def test_fill_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stored model and no file at"):
        weights.fill(build(), tmp_path / "nowhere", 2)
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="damaged"):
        weights.fill(build(), tmp_path / "a.safetensors", 2)
    write_arrays(tmp_path / "b.safetensors", {"conv/kernel": np.zeros(3)}, {})
    with pytest.raises(UserError, match=r"b\.safetensors.*don't fit model"):
        weights.fill(build(), tmp_path / "b.safetensors", 2)
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    with pytest.raises(UserError, match=r"c\.npz"):
        weights.fill(build(), tmp_path / "c.npz", 2)


def test_a_teacher_takes_no_head_of_other_classes(tmp_path: Path) -> None:
    """A student's head may start anew, a teacher's would teach nothing."""
    write_arrays(tmp_path / "a.safetensors", values_of(build(num_classes=3)), {})
    weights.fill(build(num_classes=2), tmp_path / "a.safetensors", 2)
    with pytest.raises(UserError, match=r"head/(bias|kernel) is \(.*2.*\), the array is \(.*3.*\)"):
        weights.fill(build(num_classes=2), tmp_path / "a.safetensors", None)


def test_dont_load_keeps_what_the_seed_drew(tmp_path: Path) -> None:
    arrays = values_of(build(seed=1))
    write_arrays(tmp_path / "a.safetensors", {name: a for name, a in arrays.items() if "norm" not in name}, {})
    model, drawn = build(), values_of(build())
    with pytest.raises(UserError, match=r"2 missing, e\.g\. stage1/norm1/scale.*dont_load=\[regex\] excludes some"):
        weights.fill(model, tmp_path / "a.safetensors", 2)
    weights.fill(model, tmp_path / "a.safetensors", 2, [".*/norm1/.*", "head/kernel"])
    for name, array in values_of(model).items():
        kept = "norm1" in name or name == "head/kernel"
        np.testing.assert_array_equal(array, (drawn if kept else arrays)[name])


def test_weights_come_from_an_address(tmp_path: Path, address: str) -> None:
    from experiments.distillation.prepare import build_student

    arrays = values_of(build(seed=3))
    np.savez(tmp_path / "served" / "w.npz", **arrays)
    url, sha256 = f"{address}/w.npz", digest(tmp_path / "served" / "w.npz")
    own = {"name": "convnet", "options": {"widths": [4]}, "weights": url}
    given = DistillSpec.from_dict({"teachers": [own], "student": own, "views": {"size": 8}})
    source: Any = SimpleNamespace()
    splits = Splits(source, None, None, ("a", "b"), "mine", "0")
    (teacher,) = teachers.load(given, splits, tmp_path)
    (tmp_path / "served" / "w.npz").unlink()
    student = build_student(given.student, 2, given, tmp_path)
    for model in (teacher.model, student):
        np.testing.assert_array_equal(values_of(model)["head/kernel"], arrays["head/kernel"])
    record = {"source": url, "sha256": sha256}
    assert weights.hashes(given, tmp_path) == {"student": record, "teacher0": record}
    assert (tmp_path / "cache" / "weights").is_dir()


def test_a_keras_file_and_others_layouts_are_taken_with_a_word_on_what_fits(tmp_path: Path) -> None:
    from framework.models.plain import plain
    from framework.models.stock import stock

    model, told = build(seed=1), list[str]()
    arrays = values_of(model)
    model.save(tmp_path / "own.keras")
    stock(plain(model, 8), 8, "convnet").save(tmp_path / "stock.keras")
    turned = {
        "module.stage1.conv1.weight": arrays["stage1/conv1/kernel"].transpose(3, 2, 0, 1),
        "module.stage1.norm1.weight": arrays["stage1/norm1/scale"].reshape(-1),
        "module.stage1.norm1.bias": arrays["stage1/norm1/bias"].reshape(-1),
        "module.head.weight": arrays["head/kernel"].T,
        "module.head.bias": arrays["head/bias"],
    }
    save_file({name: np.ascontiguousarray(array) for name, array in turned.items()}, tmp_path / "torch.safetensors")
    for name in ("own.keras", "stock.keras", "torch.safetensors"):
        other = build(seed=2)
        weights.fill(other, tmp_path / name, 2, tell=told.append)
        for path, array in values_of(other).items():
            np.testing.assert_allclose(array, arrays[path], atol=1e-6)
    assert ["5 arrays fit" in line for line in told] == [True] * 3
    assert ["under other names" in line for line in told] == [False, True, True]
    weights.fill(build(num_classes=5), tmp_path / "own.keras", 5, tell=told.append)
    assert told[-1].endswith("not the head, which knows other classes")
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"broken\.keras"):
        weights.fill(build(), tmp_path / "broken.keras", 2)


def test_files_of_others_are_no_checkpoints(tmp_path: Path) -> None:
    save_file({"student/head/bias": np.zeros(2, np.float32)}, tmp_path / "step-00000001.safetensors")
    with pytest.raises(DamagedFile):
        read_arrays(tmp_path / "step-00000001.safetensors")


def test_only_what_no_file_gives_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.distillation.prepare import build_student
    from framework.models import initial

    truncated_normal, drawn = initial.truncated_normal, list[str]()

    def noted(key: str, *others: Any) -> np.ndarray:
        drawn.append(key)
        return truncated_normal(key, *others)

    monkeypatch.setattr(initial, "truncated_normal", noted)
    path = tmp_path / "a.safetensors"
    write_arrays(path, values_of(build(num_classes=2, seed=1)), {})
    own = {"name": "convnet", "options": {"widths": [4]}}
    plain, filled = (
        DistillSpec.from_dict({"student": own | more, "views": {"size": 8}, "seed": 5})
        for more in ({}, {"weights": str(path)})
    )
    for num_classes, expected in ((2, []), (3, ["5:head/kernel"])):
        whole = values_of(build_student(plain.student, num_classes, plain))
        drawn.clear()
        head = values_of(build_student(filled.student, num_classes, filled))["head/kernel"]
        assert drawn == expected
        assert np.array_equal(head, whole["head/kernel"]) == (num_classes == 3)

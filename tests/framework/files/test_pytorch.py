"""A file of PyTorch's read without PyTorch: a real one, and files that are another one or name something else."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.distillation.packaged import PACKAGED
from framework.errors import UserError
from framework.files.pytorch import read_tensors

KNOWN = PACKAGED["efficientnet_lite0"]
FILE = Path(str(metadata.distribution(KNOWN.package).locate_file(KNOWN.file)))


def test_the_packages_file_holds_its_tensors() -> None:
    tensors = read_tensors(FILE, KNOWN.sha256)
    # As the package's net counts them, without the running statistics and their counters.
    trained = [array for name, array in tensors.items() if "running" not in name and "num_batches" not in name]
    assert sum(array.size for array in trained) == 4_652_008
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_conv_stem.weight"].dtype == np.float32
    assert tensors["_bn0.num_batches_tracked"].dtype == np.int64
    assert all(np.isfinite(array).all() for array in tensors.values())
    assert min(float(array.min()) for name, array in tensors.items() if name.endswith("running_var")) >= 0


@pytest.mark.backend
def test_it_reads_what_pytorch_reads() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.load(FILE, weights_only=True), read_tensors(FILE, KNOWN.sha256)
    assert list(theirs) == list(ours)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor.numpy(), strict=True)


def test_another_file_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(FILE.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"SHA-256 .*\.\.\., expected 579344248a93e230\.\.\."):
        read_tensors(path, KNOWN.sha256)
    with pytest.raises(UserError, match="can't be read: No such file"):
        read_tensors(tmp_path / "none.pth", KNOWN.sha256)


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("harm",)


@pytest.mark.parametrize(
    ("value", "told"),
    [(Harmful(), "refers to __builtin__.print"), (3, "no dictionary of PyTorch tensors")],
    ids=["harmful", "other"],
)
def test_a_pickle_makes_tensors_and_nothing_else(
    value: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    for each in (0x1950A86A20F9469CFC6C, 1001, {}, value, []):
        pickle.dump(each, file, protocol=2)
    path = tmp_path / "a.pth"
    path.write_bytes(file.getvalue() + struct.pack("<q", 0))
    with pytest.raises(UserError, match=told):
        read_tensors(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert capsys.readouterr().out == ""

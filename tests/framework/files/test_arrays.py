"""Files of arrays: everything comes back, and no damage goes unnoticed."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from framework.files.arrays import DamagedFile, digest, read_arrays, write_arrays, write_text

ROOT = Path(__file__).parents[3]
KINDS = ["f8", "f4", "f2", ml_dtypes.bfloat16, "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
STATE = {"step": np.asarray(7, np.int64), "student/kérnel": np.arange(4, dtype=np.float32)}
METADATA = {"fingerprint": "ab12", "spec": {"lr": 0.1, "name": "é", "none": None}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_arrays(tmp_path / "a.safetensors", STATE, METADATA)
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_every_dtype_and_shape_comes_back(tmp_path: Path, kind: object, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)  # type: ignore[call-overload]
    write_arrays(tmp_path / "a", {"größe/a b": array}, {})
    (found,) = read_arrays(tmp_path / "a")[0].values()
    assert (found.dtype, found.shape) == (array.dtype, shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable
    assert found.flags.owndata


def test_metadata_come_back(file: Path) -> None:
    assert read_arrays(file)[1] == METADATA


def test_other_byte_orders_and_layouts_come_back_as_values(tmp_path: Path) -> None:
    arrays = {"big": np.arange(3, dtype=">f4"), "strided": np.arange(6, dtype="i4").reshape(2, 3).T}
    write_arrays(tmp_path / "a", arrays, {})
    found = read_arrays(tmp_path / "a")[0]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert found["big"].dtype == np.dtype("<f4")


@pytest.mark.parametrize("array", [np.zeros(1, complex), np.array(["a"]), np.array([None])], ids=str)
def test_what_has_no_form_in_the_file_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="can't be stored; allowed: F64"):
        write_arrays(tmp_path / "a", {"a": array}, {})
    assert list(tmp_path.iterdir()) == []


def test_the_stock_library_reads_it(tmp_path: Path) -> None:
    arrays = {str(index): np.arange(6).reshape(2, 3).astype(kind) for index, kind in enumerate(KINDS)}
    write_arrays(tmp_path / "a", arrays | {"scalar": np.asarray(3.0, np.float32)}, METADATA)
    found = load_file(tmp_path / "a")
    for name, array in arrays.items():
        assert found[name].tobytes() == array.tobytes()
    assert found["scalar"].shape == ()


def test_every_flipped_bit_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    unnoticed = []
    for place in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        try:
            read_arrays(file)
        except DamagedFile:
            continue
        unnoticed.append(place)
    assert unnoticed == []


def test_every_truncation_and_an_added_byte_are_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for content in [whole[:length] for length in range(len(whole))] + [whole + b"\0"]:
        file.write_bytes(content)
        with pytest.raises(DamagedFile):
            read_arrays(file)


def test_the_message_names_the_file_and_the_array(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)
    with pytest.raises(DamagedFile, match=r"a\.safetensors is damaged: array 'student/kérnel' does not verify"):
        read_arrays(file)


def test_a_file_of_somebody_s_making_is_refused(tmp_path: Path) -> None:
    """Nothing is allocated for what a header claims, and nothing is unpacked that is nested without end."""
    header = b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]},"__metadata__":{"crc32":"{}","values":"{}"}}'
    for text in (b"[" * 100_000, header % (10**15, 4 * 10**15), b'{"__metadata__":{"values":' + b'{"a":' * 50_000):
        (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(DamagedFile):
            read_arrays(tmp_path / "a")
    (tmp_path / "a").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(DamagedFile):
        read_arrays(tmp_path / "a")


def test_nothing_is_unpickled() -> None:
    """No module of the project's, whatever is in a file, makes objects of it.

    But for one: what `framework/files/pytorch.py` may make is tested beside it.
    """
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
    for path in [path for top in ("framework", "backends", "experiments") for path in (ROOT / top).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            used = modules & {name.partition(".")[0] for name in names}
            assert not used or path == ROOT / "framework/files/pytorch.py", path
            if isinstance(node, ast.Call):
                given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                assert not given.get("allow_pickle"), path
                assert given.get("safe_mode", True), path
                assert ast.unparse(node.func) != "torch.load" or given.get("weights_only"), path


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a")


def test_write_text_replaces(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "zwölf")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "zwölf"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_digest_is_that_of_the_file_s_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"zw\xc3\xb6lf")
    assert digest(tmp_path / "a") == hashlib.sha256("zwölf".encode()).hexdigest()
    assert digest(tmp_path / "a", "md5") == hashlib.md5("zwölf".encode()).hexdigest()

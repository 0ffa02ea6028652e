"""The recorded files of the authors' code: nothing is missing, and nothing lies there unread."""

from __future__ import annotations

import pytest

from tests.recorded import DEFAULT, FOLDER

KINDS = (
    "distances",
    "mixup",
    "schedule",
    "optimizer",
    "bit_",
    "legacy_bit_",
    "crop_boxes",
    "preprocess",
    "eval_metrics",
    "trajectory_",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recorded(kind: str) -> None:
    assert list(DEFAULT.glob(f"{kind}*.npz"))


def test_every_file_is_of_a_kind() -> None:
    """A folder that `GOLDEN_DIR` names may lack kinds, but an empty or mistyped one tests nothing."""
    names = [path.name for path in FOLDER.glob("*.npz")]
    assert names, f"no recorded files in {FOLDER}"
    assert [name for name in names if not name.startswith(KINDS)] == []


def test_legacy_weights_have_what_is_expected_of_them() -> None:
    files = {path.stem for path in FOLDER.glob("legacy_bit_*.npz")}
    assert {f"{name.rpartition('_')[0]}_{part}" for name in files for part in ("weights", "expected")} == files

"""The files that the authors' code was recorded in, by kind; `GOLDEN_DIR` names another folder of the same kinds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

DEFAULT = Path(__file__).parent / "golden"
FOLDER = Path(os.environ.get("GOLDEN_DIR") or DEFAULT)


def recordings(kind: str) -> dict[str, np.lib.npyio.NpzFile]:
    """The files whose names begin with a kind, `"preprocess"`, by name."""
    return {path.stem: np.load(path, allow_pickle=False) for path in sorted(FOLDER.glob(f"{kind}*.npz"))}


def params(cases: Sequence[tuple[str, ...]]) -> list[object]:
    """Parameters of a test from tuples of names, with readable ids."""
    return [pytest.param(*case, id="-".join(case).replace("/", ".")) for case in cases]

from __future__ import annotations

import dataclasses
import enum
import math
from pathlib import Path

import bson
import numpy as np
import pytest

from experiments.tracking.values import bson_safe, number, plain


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: np.float32
    path: Path


def test_foreign_values_become_json_types() -> None:
    given = {
        1: np.float64(0.5),
        "n": np.int64(3),
        "b": np.bool_(True),
        "zero": np.array(2.0),
        "list": (np.arange(2), {"y", "x"}),
        "point": Point(np.float32(1.5), Path("a/b")),
        "enum": Colour.RED,
    }
    found = plain(given)
    expected = {
        "1": 0.5,
        "n": 3,
        "b": True,
        "zero": 2.0,
        "list": [[0, 1], ["x", "y"]],
        "point": {"x": 1.5, "path": "a/b"},
        "enum": "red",
    }
    assert found == expected
    assert [type(found[name]) for name in ("1", "n", "b", "zero", "enum")] == [float, int, bool, float, str]


def test_scalars_of_metrics() -> None:
    assert type(number("a", np.float32(1.5))) is float
    assert math.isnan(number("a", float("nan")))
    with pytest.raises(TypeError, match=r"metric 'train\.loss' takes a scalar, got ndarray"):
        number("train.loss", np.zeros(2))


def test_what_mongodb_refuses_is_renamed() -> None:
    safe = bson_safe({"a.b": 2**70, "$set": [{"x\0": "\ud800"}], "agreement@1": -(2**63)})
    assert safe == {"a,b": str(2**70), "@set": [{"x": "?"}], "agreement@1": -(2**63)}
    assert bson.decode(bson.encode(safe)) == safe

"""A graph's constants are what was put into it."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.exporting.graph import Graph


@pytest.mark.parametrize("count", [1, 63, 64, 1000])
def test_constants_without_a_name_are_one_only_where_they_are_equal(count: int) -> None:
    from onnx import numpy_helper

    graph = Graph()
    ones, zeros = (graph.constant(np.full(count, each, np.float32)) for each in (1, 0))
    again, whole = graph.constant(np.ones(count, np.float32)), graph.constant(np.ones(count, np.int64))
    assert again == ones
    kept = {each.name: numpy_helper.to_array(each) for each in graph.constants}
    assert len({ones, zeros, whole}) == len(kept) == 3
    np.testing.assert_array_equal(kept[ones], np.ones(count, np.float32))
    np.testing.assert_array_equal(kept[zeros], np.zeros(count, np.float32))
    assert kept[whole].dtype == np.int64

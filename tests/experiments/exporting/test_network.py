"""Each of our models in ONNX gives the logits that it gives itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from experiments.exporting.graph import Graph, model, value
from experiments.exporting.network import network
from framework.models.plain import plain
from tests.framework.models.shaped import SHAPES, random_model


@pytest.mark.parametrize(("name", "options", "size"), SHAPES)
def test_logits_are_the_models(name: str, options: dict[str, Any], size: int) -> None:
    built = random_model(name, options, size)
    views = np.random.default_rng(1).uniform(-1, 1, (3, size, size, 3)).astype(np.float32)
    graph = Graph()
    network(graph, plain(built, size), "views", "logits")
    given = [value("views", np.float32, ["N", size, size, 3])]
    made = model(graph, given, [value("logits", np.float32, ["N", 5])], name, {"a": "b"})
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (found,) = session.run(None, {"views": views})
    np.testing.assert_allclose(found, built.predict_on_batch(views), atol=5e-5)
    assert session.get_modelmeta().custom_metadata_map == {"a": "b"}

"""Somebody else's model as nodes of ONNX: by Keras's own exporter, and by what that needs on each backend."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from experiments.exporting.graph import OPSET, Graph
from experiments.exporting.quiet import quiet
from experiments.exporting.subject import Subject
from framework.errors import UserError, one_line

_PREFIX = "network/"
# What Keras takes on each backend, and the extra of the project that brings it.
_EXTRAS = {"tf2onnx": "onnx", "jax2onnx": "onnx-jax"}


def foreign(graph: Graph, subject: Subject, views_nhwc: str, logits: str) -> None:
    """Write a model down that is none of ours; arguments as in `experiments.exporting.network.network`.

    Raises:
        UserError: Keras's exporter can't, or lacks a library.
    """
    from onnx import compose

    made = compose.add_prefix(_exported(subject), _PREFIX)
    versions = [each.version for each in made.opset_import if not each.domain]
    graph.opset = max(graph.opset, *versions)
    graph("Identity", views_nhwc, name=made.graph.input[0].name)
    graph.nodes += made.graph.node
    graph.constants += made.graph.initializer
    graph("Identity", made.graph.output[0].name, name=logits)


def _exported(subject: Subject) -> Any:
    import onnx

    model = subject.student.model
    # A module's own parameters are constants to the exporter, which takes none that could still be trained.
    model.trainable = False
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        try:
            model.export(
                str(path), format="onnx", verbose=False, opset_version=OPSET, input_signature=subject.signature
            )
        except ImportError as error:
            missing = re.search(r"\b(tf2onnx|jax2onnx|onnxscript)\b", str(error))
            extra = missing and _EXTRAS.get(missing[0])
            what = f'pip install -c constraints.txt -e ".[{extra}]"' if extra else str(error)
            raise UserError(
                f"{subject.card.name} goes to ONNX by Keras's exporter, which lacks a library: {what}"
            ) from error
        except Exception as error:  # of any kind, by what the model does
            told = f"{subject.card.name} can't be exported to ONNX by Keras: {one_line(error)}"
            raise UserError(told) from error
        return onnx.load(str(path))

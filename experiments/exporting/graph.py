"""A graph of ONNX's operations, written down one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# Of 2022: old enough for every runtime that is in use, and with all that is needed.
OPSET, IR = 17, 8


class Graph:
    """The nodes and constants so far; a value is known by its name.

    Attributes:
        nodes: those of the graph, or of the branch that is being written.
        constants: of the whole graph.
        opset: the version of the operations.
    """

    def __init__(self) -> None:
        self.opset = OPSET
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[Any, str] = {}
        self._count = 0

    def __call__(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Write an operation down; returns the name of its result."""
        from onnx import helper

        result = name or self.new(operation.lower())
        self.nodes.append(
            helper.make_node(operation, list(inputs), [result], name=f"{result}:{operation}", **attributes)
        )
        return result

    def new(self, stem: str) -> str:
        """A name that nothing has."""
        self._count += 1
        return f"{stem}_{self._count}"

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """The name of a constant; without a name of its own, equal ones are one."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype)
        key = name or (array.dtype, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name or self.new("constant")
            self.constants.append(
                numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), self._known[key])
            )
        return self._known[key]

    @contextmanager
    def branch(self) -> Iterator[list[Any]]:
        """Within it, nodes are written into a graph of their own: the list it gives."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer


def value(name: str, dtype: Any, shape: list[int | str] | None) -> Any:
    """The description of an input or output."""
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def model(graph: Graph, inputs: list[Any], outputs: list[Any], name: str, metadata: Mapping[str, str]) -> Any:
    """The finished model, checked.

    Raises:
        ValueError: it is no valid graph.
    """
    import onnx
    from onnx import helper

    whole = helper.make_graph(graph.nodes, name, inputs, outputs, graph.constants)
    made = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=IR, producer_name="patient-teachers"
    )
    helper.set_model_props(made, dict(metadata))
    onnx.checker.check_model(made, full_check=True)
    return made

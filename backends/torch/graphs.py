"""A step recorded once as a CUDA graph and played from then on: what hundreds of small kernels wait for is the host."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from backends.state import mapped

# Steps that are done as they come, so that everything is loaded, compiled and chosen before one is recorded.
_BEFORE = 3
# Buffers on the host: the next ones are filled while a copy is under way.
_RING = 3
_ALIGNED = 256


class Buffers:
    """Where the inputs of all steps lie on the device: one piece of memory, which one copy fills.

    Args:
        like: a step's inputs, numpy arrays in lists and dictionaries.
        device: where.

    Attributes:
        tensors: the same lists and dictionaries, of tensors on the device.
    """

    def __init__(self, like: Any, device: torch.device) -> None:
        arrays = _leaves(like)
        self._kinds = [(array.dtype, array.shape) for array in arrays]
        places = np.cumsum([0] + [-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays]).tolist()
        dtypes = [torch.from_numpy(np.empty(0, array.dtype)).dtype for array in arrays]

        def parts(memory: torch.Tensor) -> Iterator[torch.Tensor]:
            for place, array, dtype in zip(places, arrays, dtypes, strict=False):
                yield memory[place : place + array.nbytes].view(dtype).view(array.shape)

        pinned = device.type == "cuda"
        hosts = [torch.empty(places[-1], dtype=torch.uint8, pin_memory=pinned) for _ in range(_RING)]
        self._hosts = [(host, [part.numpy() for part in parts(host)], _event(pinned)) for host in hosts]
        self._bytes = torch.empty(places[-1], dtype=torch.uint8, device=device)
        taken = parts(self._bytes)
        self.tensors = mapped(lambda _: next(taken), like)
        self._filled = 0

    def fit(self, inputs: Any) -> bool:
        """Whether these have the dtypes and shapes of the first ones."""
        return [(array.dtype, array.shape) for array in _leaves(inputs)] == self._kinds

    def fill(self, inputs: Any) -> None:
        """Send a step's inputs; the copy waits for the steps before, and nobody for the copy."""
        host, parts, event = self._hosts[self._filled % _RING]
        self._filled += 1
        if event is not None:
            event.synchronize()
        for part, array in zip(parts, _leaves(inputs), strict=True):
            np.copyto(part, array)
        self._bytes.copy_(host, non_blocking=True)
        if event is not None:
            event.record()


class Recorded:
    """Does a step, recorded as a graph where that is possible; where it isn't, it says so in a line.

    Args:
        do: the step, of tensors in lists and dictionaries; it changes the state in place and returns named scalars.
        device: a CUDA device.
    """

    def __init__(self, do: Callable[..., dict[str, torch.Tensor]], device: torch.device) -> None:
        self._do, self._device = do, device
        self._buffers: Buffers | None = None
        # One for all of the first steps: what one stream has freed, another can't take.
        self._aside = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: dict[str, torch.Tensor] = {}
        self._done = 0

    def __call__(self, *inputs: Any) -> dict[str, torch.Tensor] | None:
        """One step; None where it has to be done in another way, now and from now on."""
        if self._buffers is None:
            self._buffers = Buffers(list(inputs), self._device)
        if not self._buffers.fit(list(inputs)):
            self._refuse("its inputs change their shapes")
            return None
        self._buffers.fill(list(inputs))
        self._done += 1
        if self._done <= _BEFORE:
            return self._warm_up(self._buffers.tensors)
        self._graph = self._graph or self._record(self._buffers.tensors)
        if self._graph is None:
            return None
        self._graph.replay()
        return {name: tensor.clone() for name, tensor in self._results.items()}

    def _warm_up(self, inputs: Any) -> dict[str, torch.Tensor]:
        here = torch.cuda.current_stream(self._device)
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            results = self._do(*inputs)
        here.wait_stream(self._aside)
        return results

    def _record(self, inputs: Any) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        # The graph's memory is its own: what the first steps took must be free before.
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph):
                self._results = self._do(*inputs)
        except RuntimeError as error:
            torch.cuda.synchronize(self._device)
            self._refuse(str(error).strip().splitlines()[0])
            return None
        return graph

    def _refuse(self, reason: str) -> None:
        line = f"the step is not recorded as a CUDA graph, which is slower for small nets: {reason}"
        print(line, file=sys.stderr, flush=True)


def _leaves(tree: Any) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    mapped(found.append, tree)
    return found


def _event(pinned: bool) -> torch.cuda.Event | None:
    return torch.cuda.Event() if pinned else None

"""What a recorded step needs, as far as a CPU can show it: inputs in one piece of memory, and nothing from the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backends.torch import BACKEND, fused
from backends.torch.cards import whole_step
from backends.torch.graphs import Buffers
from framework import kernels

# Data that the host made go to the device, or data of the device decide what comes next: neither can be recorded.
_FROM_HOST = torch.ops.aten.lift_fresh.default
_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Watch(TorchDispatchMode):
    """Notes the operations that no graph can record."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is _FROM_HOST or _TAGS & set(function.tags):
            self.noted.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    """The CPU's own group normalisation looks at its result."""
    kernels.install({**BACKEND.kernels, "group_norm": fused.norm})
    yield
    kernels.install(BACKEND.kernels)


BIT = {"name": "bit", "options": {"depth": [1, 1], "width": 0.5}}
SPECS: dict[str, dict[str, Any]] = {
    "convnet": {},
    "no clipping": {"optimizer": {"lr": 0.01, "clip_norm": None}},
    "bfloat16 moments": {"optimizer": {"lr": 0.01, "moment_dtype": "bfloat16"}},
    "sgd": {"optimizer": {"name": "sgd", "lr": 0.1, "clip_norm": 1.0}},
    "bit, labels": {"student": BIT, "teachers": [BIT], "loss": {"task_weight": 0.5, "temperature": 2.0}},
    "two teachers": {"teachers": [BIT, BIT], "loss": {"ensemble": "mean_probs"}, "teaching": "independent"},
    "its own range": {"teachers": [BIT | {"normalize": "caffe"}]},
    "augmented": {"views": {"size": 8, "augmentations": ["brightness", "grayscale"]}},
}


def whole(trainer: Any, batch: Any) -> Any:
    parts = trainer.put(trainer.task.micro_batches(batch)), trainer.put(trainer.task.scalars(trainer.steps_done))
    with Watch() as watch:
        whole_step(trainer, *parts)
    return watch.noted


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", SPECS)
def test_a_step_needs_nothing_from_the_host(name: str, parts: int, tiny: Any) -> None:
    spec = tiny.spec(**SPECS[name])
    trainer = tiny.trainer(spec, grad_accum_steps=parts)
    tiny.run(trainer, spec, 1)
    assert whole(trainer, tiny.batch(spec, 1)) == []


def test_what_needs_the_host_is_seen(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny.spec()
    trainer, loss = tiny.trainer(spec), None
    loss = trainer.task.distance
    monkeypatch.setattr(trainer.task, "distance", lambda *given: loss(*given) * torch.tensor(1.0))
    assert set(whole(trainer, tiny.batch(spec, 0))) == {"aten.lift_fresh.default"}
    monkeypatch.setattr(trainer.task, "distance", lambda *given: loss(*given) * float(given[0].sum()))
    assert set(whole(trainer, tiny.batch(spec, 0))) == {"aten._local_scalar_dense.default"}


def test_inputs_lie_in_one_piece_of_memory(tiny: Any) -> None:
    spec = tiny.spec(loss={"task_weight": 0.5})
    trainer = tiny.trainer(spec, grad_accum_steps=2)
    inputs = [[trainer.task.micro_batches(tiny.batch(spec, step)), trainer.task.scalars(step)] for step in range(5)]
    buffers = Buffers(inputs[0], torch.device("cpu"))
    assert all(buffers.fit(each) for each in inputs)
    storages = set()
    for each in inputs:
        buffers.fill(each)
        for parts, tensors in zip([*each[0], each[1]], [*buffers.tensors[0], buffers.tensors[1]], strict=True):
            assert parts.keys() == tensors.keys()
            for name, array in parts.items():
                np.testing.assert_array_equal(tensors[name].numpy(), array)
                assert tensors[name].numpy().dtype == array.dtype
                storages.add(tensors[name].untyped_storage().data_ptr())
    assert len(storages) == 1
    other = tiny.batch(tiny.spec(batch_size=4, loss={"task_weight": 0.5}), 0)
    assert not buffers.fit([trainer.task.micro_batches(other), inputs[0][1]])


def test_a_step_on_buffers_is_the_step(tiny: Any) -> None:
    spec = tiny.spec()
    one, other = tiny.trainer(spec), tiny.trainer(spec)
    losses = tiny.run(one, spec, 4)
    buffers = None
    for step, loss in enumerate(losses):
        inputs = [other.task.micro_batches(tiny.batch(spec, step)), other.task.scalars(step)]
        buffers = buffers or Buffers(inputs, torch.device("cpu"))
        buffers.fill(inputs)
        assert float(whole_step(other, *buffers.tensors)["loss"]) == loss

"""An eager step works in place on the student's own tensors, without keeping a graph."""

from __future__ import annotations

from typing import Any

import keras
import torch


def test_the_state_stays_where_it_is(tiny: Any) -> None:
    """The foreach update and a restore write into the same memory: nothing is allocated anew for each step."""
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    tensors = keras.tree.flatten(trainer.carry)
    places = [tensor.data_ptr() for tensor in tensors]
    tiny.run(trainer, spec, 2)
    trainer.restore(trainer.state())
    tiny.run(trainer, spec, 1)
    assert [tensor.data_ptr() for tensor in tensors] == places


def test_no_gradient_is_left_behind(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    tiny.run(trainer, spec, 2)
    models = [trainer.task.student, *trainer.task.teachers]
    assert all(param.grad is None for model in models for param in model.parameters())
    assert not any(param.requires_grad for teacher in trainer.task.teachers for param in teacher.parameters())


def test_the_random_generator_of_the_process_is_not_touched(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    before = torch.get_rng_state()
    tiny.run(trainer, spec, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_rematerialised_blocks_are_computed_again(tiny: Any, plain_and_again: tuple[Any, Any, Any]) -> None:
    spec, plain, again = plain_and_again
    assert sum(kept(again, tiny.batch(spec, 0))) < 0.5 * sum(kept(plain, tiny.batch(spec, 0)))


def kept(trainer: Any, batch: Any) -> list[int]:
    """The sizes of what the forward pass keeps for the backward pass."""
    sizes: list[int] = []
    seen = trainer.see(batch)[0]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainer._forward(seen)
    return sizes

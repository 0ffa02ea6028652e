"""Several devices, of one process or of many: each computes its part of a batch, the sum of the gradients is all's.

What a device has of its own, inputs and what comes of them, stands in arrays whose first axis counts the devices. All
but the update is computed among the devices of a process alone, so that one process can measure while others don't.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from backends.base import Device
from backends.hooks import Tree
from backends.jax.loops import LoopTrainer
from backends.jax.trainer import JaxTrainer
from framework.inputs import Inputs
from framework.task import Task

_AXIS = "devices"
_EACH, _ALL = PartitionSpec(_AXIS), PartitionSpec()


class MeshTrainer(JaxTrainer):
    """As its parent, on all devices; `carry` is the same on each."""

    def __init__(self, task: Task, device: Device, jit: bool | None = None) -> None:
        first = device.handle
        everywhere = [each for each in jax.devices(first.platform) if each.process_index != jax.process_index()]
        by_rank = sorted([*everywhere, *device.all], key=lambda each: (each.process_index, each.id))
        self.here, self.world = Mesh(np.array(device.all), (_AXIS,)), Mesh(np.array(by_rank), (_AXIS,))
        super().__init__(task, device, jit)

    def _prepare(self) -> None:
        super()._prepare()
        whole = self._over(self.world, self.updated, (_ALL, _EACH, _EACH, _ALL), _ALL, donated=0)
        self._update = lambda total, seen, scalars: whole(
            self.carry, *(self._moved(each, self.world, _EACH) for each in (total, seen)), scalars
        )

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        """Among the devices of this process; nothing is donated, for what is held may be the whole world's."""
        del donated

        def call(*inputs: Any) -> Any:
            kept = [self._moved(getattr(self, name), self.here, _ALL) for name in held]
            return program(len(inputs))(*kept, *inputs)

        @cache
        def program(count: int) -> Callable[..., Any]:
            return self._over(self.here, function, (*[_ALL] * len(held), *[_EACH] * count), _EACH)

        return call

    def _over(
        self, mesh: Mesh, function: Callable[..., Any], given: Sequence[Any], result: Any, donated: int | None = None
    ) -> Callable[..., Any]:
        """A function of what each device has, as a program on all of them."""

        def each(*inputs: Any) -> Any:
            own = [
                jax.tree.map(lambda leaf: leaf[0], tree) if spec is _EACH else tree
                for tree, spec in zip(inputs, given, strict=True)
            ]
            found = function(*own)
            return jax.tree.map(lambda leaf: leaf[None], found) if result is _EACH else found

        spread = jax.shard_map(each, mesh=mesh, in_specs=tuple(given), out_specs=result, check_vma=False)
        return jax.jit(spread, donate_argnums=donated)

    def reduced(self, values: Sequence[jax.Array]) -> Sequence[jax.Array]:
        """One sum for all of a dtype: each one between processes has a latency of its own."""
        found = list(values)
        for dtype in {value.dtype: None for value in values}:
            own = [place for place, value in enumerate(values) if value.dtype == dtype]
            flat, unravel = ravel_pytree([values[place] for place in own])
            for place, value in zip(own, unravel(jax.lax.psum(flat, _AXIS)), strict=True):
                found[place] = value
        return found

    def put(self, tree: Tree) -> Tree:
        """The same on all devices of all processes."""
        return jax.tree.map(partial(_placed, NamedSharding(self.world, _ALL)), tree)

    def fed(self, parts: Sequence[Inputs]) -> Tree:
        stacked = {name: np.stack([np.asarray(part[name]) for part in parts]) for name in parts[0]}
        return jax.device_put(stacked, NamedSharding(self.here, _EACH))

    def apart(self, tree: Tree) -> Sequence[Tree]:
        return [jax.tree.map(lambda leaf, place=place: leaf[place], tree) for place in range(self.here.size)]

    def frozen_values(self, teacher: Any) -> list[Any]:
        return list(self._moved(super().frozen_values(teacher), self.here, _ALL))

    def _moved(self, tree: Tree, mesh: Mesh, spec: PartitionSpec) -> Tree:
        """The arrays as those of another mesh, which has their memory."""
        if self.here.size == self.world.size:
            return tree
        return jax.tree.map(partial(_seen_as, NamedSharding(mesh, spec), self.here.size), tree)


def _placed(sharding: NamedSharding, leaf: Any) -> jax.Array:
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda place: array[place])


def _seen_as(sharding: NamedSharding, own: int, leaf: Any) -> jax.Array:
    mine = {device for device in sharding.mesh.devices.flat if device.process_index == jax.process_index()}
    pieces = [shard.data for shard in leaf.addressable_shards if shard.device in mine]
    whole = sharding.spec == _ALL
    shape = leaf.shape if whole else (leaf.shape[0] // own * sharding.mesh.size, *leaf.shape[1:])
    return jax.make_array_from_single_device_arrays(shape, sharding, pieces)


def trainer(task: Task, device: Device | None = None, jit: bool | None = None) -> JaxTrainer:
    """A trainer for one device, or for all of a world."""
    if task.world.is_alone or device is None:
        return LoopTrainer(task, device, jit)
    return MeshTrainer(task, device, jit)

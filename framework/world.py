"""Who computes which part of a batch: processes, their devices, and parts that a device takes one after the other.

A batch of B examples is cut into P parts, in order; a device has as many in a row as it accumulates. The sum of the
parts' gradients, each by its share of the examples, is the whole batch's gradient, whoever computed which of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from framework.draws.views import some
from framework.errors import UserError
from framework.protocols import Array, Batch


class Channel(Protocol):
    """What the processes of a world tell each other besides gradients."""

    def gather(self, value: Any) -> list[Any]:
        """The plain values that all processes give, in the order of their ranks; each waits for all."""

    def blamed(self, error: Exception) -> Exception:
        """The error, or what is known to have ended another process before."""

    def moved(self, training: bool = True) -> None:
        """Note that a step was done; with `training` False, that none is expected for now."""


@dataclass(frozen=True)
class World:
    """The processes that train one student, and this one's place among them.

    Attributes:
        rank: this process, from 0.
        size: how many processes there are.
        local_rank: this process among those of its machine.
        devices: that each process computes on.
        local_size: how many processes its machine has.
        channel: to the others; None where there are none.
        host: by which the others reach this process's machine.
        patience: seconds that one waits for the others before it takes them for lost.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    devices: int = 1
    local_size: int = 1
    channel: Channel | None = field(default=None, compare=False)
    host: str = "127.0.0.1"
    patience: float = 600.0

    @property
    def is_alone(self) -> bool:
        """Whether one device computes everything."""
        return self.size * self.devices == 1

    @property
    def several_here(self) -> bool:
        """Whether processes share a machine."""
        return self.local_size > 1

    def gather(self, value: Any) -> list[Any]:
        """As `Channel.gather`."""
        return self.channel.gather(value) if self.channel else [value]

    def blamed(self, error: Exception) -> Exception:
        """As `Channel.blamed`."""
        return self.channel.blamed(error) if self.channel else error

    def moved(self, training: bool = True) -> None:
        """As `Channel.moved`."""
        if self.channel:
            self.channel.moved(training)

    def free_address(self) -> str:
        """`host:port` of this machine, where nobody listens yet."""
        with socket.socket() as found:
            found.bind((self.host, 0))
            return f"{self.host}:{found.getsockname()[1]}"

    def sizes(self, batch_size: int, in_turn: int = 1) -> list[int]:
        """The examples of each part of this process; a device's parts follow each other."""
        parts, own = self.size * self.devices * in_turn, self.devices * in_turn
        bounds = [place * batch_size // parts for place in range(self.rank * own, (self.rank + 1) * own + 1)]
        return [stop - start for start, stop in pairwise(bounds)]

    def places(self, batch_size: int, boundary: bool) -> Array | None:
        """Where this process's examples stand in a batch, int64; None where that is all of it.

        Args:
            batch_size: examples in an update.
            boundary: with the one before the first in front, its mixing partner.
        """
        if self.size == 1:
            return None
        start, stop = (rank * batch_size // self.size for rank in (self.rank, self.rank + 1))
        return np.arange(start - boundary, stop) % batch_size


# How a layer sums over the devices that share a batch; nothing where one has all of it.
_summing: list[Callable[[Any], Any]] = []


@contextmanager
def summed_by(function: Callable[[Any], Any]) -> Iterator[None]:
    """Within it, `over_devices` is this function, through which gradients pass."""
    _summing.append(function)
    try:
        yield
    finally:
        _summing.pop()


def over_devices(own: Any) -> Any:
    """The sum of a tensor over the devices that compute a batch together."""
    return _summing[-1](own) if _summing else own


def in_turn(batch_size: int, norm_size: int | None, grad_accum_steps: int, world: World) -> int:
    """How many parts a device takes one after the other.

    Args:
        batch_size: examples in one update.
        norm_size: those of a part whose statistics BatchNorm takes; None is all that are computed at once.
        grad_accum_steps: parts that a device shall take in turn.
        world: the processes and devices.

    Raises:
        UserError: `norm_size` asks for another number of parts.
    """
    if norm_size in (None, batch_size):
        return grad_accum_steps
    assert norm_size is not None
    parts, devices = batch_size // norm_size, world.size * world.devices
    if parts % devices:
        allowed = ", ".join(str(number) for number in range(1, parts + 1) if parts % number == 0)
        raise UserError(f"batch_norm_size = {norm_size}: {parts} parts of a batch on {devices} devices, not {allowed}")
    turns = parts // devices
    if grad_accum_steps not in (1, turns):
        raise UserError(
            f"grad_accum_steps = {grad_accum_steps}: batch_norm_size = {norm_size} makes it {turns}; leave it out"
        )
    return turns


def check_parts(
    batch_size: int, in_turn: int, student: Any, world: World, equal: bool, norm_size: int | None = None
) -> None:
    """Refuse parts that would not give the whole batch's update.

    Args:
        batch_size: examples in one update.
        in_turn: parts that a device takes one after the other.
        student: the Keras model.
        world: the processes and devices.
        equal: whether the backend wants all devices to have as many examples.
        norm_size: examples over which BatchNorm takes its statistics; None is all of a batch.

    Raises:
        UserError: parts of unequal size, or none for some; or a student with state that parts would change otherwise.
    """
    devices = world.size * world.devices
    if in_turn * devices == 1:
        return
    if batch_size % in_turn:
        fitting = [str(number) for number in range(1, batch_size + 1) if batch_size % number == 0]
        raise UserError(f"grad_accum_steps = {in_turn}: allowed are divisors of batch_size: {', '.join(fitting)}")
    what = f"grad_accum_steps = {in_turn}" if devices == 1 else f"{devices} devices"
    if batch_size < in_turn * devices or (equal and devices > 1 and batch_size % (in_turn * devices)):
        raise UserError(
            f"batch_size = {batch_size} on {devices} devices: {_near(batch_size, in_turn * devices, equal)}"
        )
    variables = student.non_trainable_variables
    drawn = [variable.path for variable in variables if "seed" in variable.path.lower()]
    if drawn:
        raise UserError(f"{what}: the student draws numbers of its own ({drawn[0]}), as dropout does; allowed is 1")
    if variables and norm_size in (None, batch_size) and (in_turn > 1 or not _sums_over_devices(student)):
        sizes = [
            str(size) for size in range(1, batch_size) if batch_size % size == 0 and batch_size // size % devices == 0
        ]
        raise UserError(
            f"{what}: the student keeps statistics of a batch ({variables[0].path}); say of how many examples they are "
            f"to be, for example batch_norm_size={sizes[-1] if sizes else batch_size}"
        )


def _sums_over_devices(student: Any) -> bool:
    """Whether all state of a student is that of layers that ask `over_devices`."""
    layers = [layer for layer in student._flatten_layers() if getattr(layer, "sums_over_devices", False)]
    known = {id(variable) for layer in layers for variable in layer.non_trainable_variables}
    return all(id(variable) in known for variable in student.non_trainable_variables)


def _near(batch_size: int, parts: int, equal: bool) -> str:
    if not equal:
        return f"there is no example for some of them; allowed is {parts} or more"
    lower = batch_size - batch_size % parts
    sizes = [str(size) for size in (lower, lower + parts) if size]
    return f"this backend gives each as many examples; allowed are multiples of {parts}, such as {' or '.join(sizes)}"


def micro_batches(batch: Batch, sizes: Sequence[int], boundary: bool) -> list[Batch]:
    """Cut a batch, or a process's slice of one, into parts, in order.

    Args:
        batch: all of its examples, or those of a process, `bounded` where the first one is another's.
        sizes: examples of each part.
        boundary: put the example before its first one in front of each part (the last of the batch in front of the
            first part): the partner that it is mixed with.
    """
    count, lead = sum(sizes), int(batch.bounded)
    starts = np.cumsum([0, *sizes[:-1]])
    own = [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    shown = [np.arange(each[0] - boundary, each[-1] + 1) + lead for each in own]
    return [_taken(batch, places % (count + lead), each) for places, each in zip(shown, own, strict=True)]


def _taken(batch: Batch, ids: Array, own: Array) -> Batch:
    """Examples of a batch; `own` are those without the boundary."""
    # What was one array for student and teacher stays one.
    views = {id(view): view[ids] for view in batch.views or ()}
    return replace(
        batch,
        images=None if batch.images is None else batch.images[ids],
        draws=None if batch.draws is None else some(batch.draws, ids),
        views=None if batch.views is None else tuple(views[id(view)] for view in batch.views),
        labels=None if batch.labels is None else batch.labels[ids],
        targets=None if batch.targets is None else tuple(target[own] for target in batch.targets),
        bounded=len(ids) > len(own),
    )

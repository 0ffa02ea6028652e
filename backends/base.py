"""What every backend offers: how a step is differentiated, compiled, placed on a device and fed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.protocols import Trainer
from framework.spec import DistillSpec, Precision
from framework.world import World

if TYPE_CHECKING:
    from framework.task import Task


@dataclass(frozen=True)
class Device:
    """Where a run computes.

    Attributes:
        kind: `cpu`, `gpu` or `tpu`.
        name: what the library calls it, `"cuda:0"`.
        description: what people call it, `"NVIDIA H200"`.
        threads: CPU threads taken; None where the library decides.
        handle: the library's own object.
        memory: bytes of an accelerator's memory that are free; None where the library doesn't say.
        all: the library's objects of all devices on which this process computes; the first is `handle`.
    """

    kind: str
    name: str
    description: str
    threads: int | None
    handle: Any
    memory: int | None = None
    all: tuple[Any, ...] = ()

    @property
    def count(self) -> int:
        """On how many devices this process computes."""
        return max(1, len(self.all))

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        several = f"{self.count} times " if self.count > 1 else ""
        return f"{several}{self.description} ({self.name}{threads})"


@dataclass(frozen=True)
class Settings:
    """What a process computes with, chosen before any model is built.

    Attributes:
        device: as in `backends.devices.match`; None takes the best there is.
        threads: CPU threads; None leaves the number to the library. One that has computed before may keep what it had.
        precision: of the models to be built.
        cache: a folder where compiled programs stay for the next process, where the library can do that; the library's
            own environment variable goes before it.
        tf32: let an accelerator multiply float32 in TensorFloat-32; exactly otherwise.
        deterministic: add up in one order on accelerators too, or refuse what the library can't do so; once asked for,
            it stays for the process.
        devices: on how many of them this process computes; None is one, 0 all that there are of the kind.
        world: the processes that train together.
    """

    device: str | None = None
    threads: int | None = None
    precision: Precision = "float32"
    cache: Path | None = None
    tf32: bool = False
    deterministic: bool = False
    devices: int | None = None
    world: World = field(default_factory=World)


@dataclass(frozen=True)
class Backend:
    """A backend.

    Attributes:
        name: as `backends.load` knows it.
        configure: chooses device, threads and precision for the process, before any model is built.
        trainer: makes a trainer of a task, for a device (None: the CPU), compiled or not (None: the backend's habit).
        peak_memory: the most bytes of an accelerator that the process has held; None where the library doesn't say.
        kernels: replacements for `framework.kernels`.
        wrap: makes a Keras model of the backend's own modules: see `framework.models.catalog.install_wrapper`.
        read_weights: reads its library's own files: see `framework.models.weights.install_reader`.
        write_program: writes a model as a program of its library's own, where that has such a form. Called with the
            model, its plain operations (None for a model that is none of ours), the image size and a path; it returns
            the files that it wrote.
        call: calls a model outside of any training: see `framework.models.calls.install_call`.
        equal: all devices must have as many examples of a batch.
    """

    name: str
    configure: Callable[[Settings], Device]
    trainer: Callable[[Task, Device | None, bool | None], Trainer]
    peak_memory: Callable[[Device], int | None]
    kernels: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    wrap: Callable[[Any, int, int], Any] | None = None
    read_weights: Callable[[Path], Mapping[str, Any] | None] | None = None
    write_program: Callable[[Any, Any, int, Path], list[Path]] | None = None
    call: Callable[[Any, Sequence[Any], bool], list[Any]] | None = None
    equal: bool = False

    def versions(self) -> dict[str, str]:
        """Versions of the backend's library and of Keras."""
        return {name: sys.modules[name].__version__ for name in (self.name, "keras")}

    def compile(
        self,
        spec: DistillSpec,
        student: Any,
        teachers: Sequence[Any],
        *,
        total_steps: int,
        device: Device | None = None,
        jit: bool | None = None,
        grad_accum_steps: int = 1,
        world: World = World(),  # noqa: B008 - frozen
    ) -> Trainer:
        """A trainer of a spec and its built models; device and jit as in `trainer`, the rest as in `Task`."""
        # It imports Keras, which `backends.load` comes before.
        from framework.task import Task

        task = Task(spec, student, teachers, total_steps, grad_accum_steps, world, self.equal)
        return self.trainer(task, device, jit)

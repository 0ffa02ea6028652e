"""What every backend offers: how a step is differentiated, compiled, placed on a device and fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from framework.protocols import Trainer
from framework.spec import DistillSpec, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """

    kind: str
    name: str
    description: str
    threads: int | None
    handle: Any
    memory: int | None = None

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        return f"{self.description} ({self.name}{threads})"


class Compile(Protocol):
    """Makes a trainer of a spec and its built models."""

    def __call__(
        self,
        spec: DistillSpec,
        student: Any,
        teachers: Sequence[Any],
        *,
        total_steps: int,
        device: Device | None = None,
        jit: bool | None = None,
        grad_accum_steps: int = 1,
    ) -> Trainer:
        """Compile for `total_steps` on a device; `jit` None is the backend's habit.

        The gradients of `grad_accum_steps` parts of a batch are added up before one update.
        """


class Configure(Protocol):
    """Chooses device, threads and precision for the process, before any model is built."""

    def __call__(
        self,
        device: str | None,
        threads: int | None,
        precision: Precision,
        cache: Path | None = None,
        tf32: bool = False,
        deterministic: bool = False,
    ) -> Device:
        """`device` as in `backends.devices.match`; `threads` None leaves the number to the library.

        `cache` is a folder where compiled programs stay for the next process, where the library can do that; `tf32`
        lets an accelerator multiply float32 in TensorFloat-32. `deterministic` has the library add up in one order on
        accelerators too, or refuse what it can't do so; once asked for, it stays for the process.
        """


@dataclass(frozen=True)
class Backend:
    """An engine.

    Attributes:
        name: as `backends.load` knows it.
        configure: chooses the device; call it once, before models are built.
        compile: makes a trainer.
        kernels: replacements for `framework.kernels`.
        versions: versions of the engine and of Keras.
        wrap: makes a Keras model of the engine's own modules: see `framework.models.catalog.install_wrapper`.
        read_weights: reads its library's own files: see `framework.models.weights.install_reader`.
    """

    name: str
    configure: Configure
    compile: Compile
    kernels: Mapping[str, Callable[..., Any]]
    versions: Callable[[], dict[str, str]]
    wrap: Callable[[Any, int, int], Any] | None = None
    read_weights: Callable[[Path], Mapping[str, Any] | None] | None = None

"""JAX: on CPU, GPU and TPU."""

from __future__ import annotations

from backends.base import Backend
from backends.jax.calls import call
from backends.jax.devices import configure, peak_memory
from backends.jax.kernels import KERNELS
from backends.jax.meshes import trainer
from backends.jax.modules import wrap

BACKEND = Backend(
    name="jax",
    configure=configure,
    trainer=trainer,
    peak_memory=peak_memory,
    kernels=KERNELS,
    wrap=wrap,
    call=call,
    equal=True,
)

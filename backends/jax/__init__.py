"""JAX: on CPU, GPU and TPU."""

from __future__ import annotations

import jax
import keras

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
    kernels=KERNELS,
    versions=lambda: {"jax": jax.__version__, "keras": keras.__version__},
    peak_memory=peak_memory,
    wrap=wrap,
    call=call,
    equal=True,
)

"""PyTorch: on CPU and CUDA."""

from __future__ import annotations

from backends.base import Backend
from backends.torch.cards import trainer
from backends.torch.devices import configure, peak_memory
from backends.torch.kernels import KERNELS
from backends.torch.modules import call, wrap
from backends.torch.optimizer import adamw_update
from backends.torch.programs import write
from backends.torch.states import read_weights

BACKEND = Backend(
    name="torch",
    configure=configure,
    trainer=trainer,
    peak_memory=peak_memory,
    kernels={**KERNELS, "adamw_update": adamw_update},
    wrap=wrap,
    read_weights=read_weights,
    write_program=write,
    call=call,
)

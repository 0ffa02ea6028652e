"""TensorFlow: on CPU, GPU and TPU."""

from __future__ import annotations

from backends.base import Backend
from backends.tensorflow.devices import configure, peak_memory
from backends.tensorflow.towers import trainer

BACKEND = Backend(
    name="tensorflow",
    configure=configure,
    trainer=trainer,
    peak_memory=peak_memory,
)

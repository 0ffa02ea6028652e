"""TensorFlow: on CPU, GPU and TPU."""

from __future__ import annotations

import keras
import tensorflow as tf

from backends.base import Backend
from backends.tensorflow.devices import configure, peak_memory
from backends.tensorflow.kernels import KERNELS
from backends.tensorflow.towers import trainer

BACKEND = Backend(
    name="tensorflow",
    configure=configure,
    trainer=trainer,
    kernels=KERNELS,
    versions=lambda: {"tensorflow": tf.__version__, "keras": keras.__version__},
    peak_memory=peak_memory,
)

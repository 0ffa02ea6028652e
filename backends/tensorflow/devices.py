"""Accelerators, threads and precision under TensorFlow."""

from __future__ import annotations

import contextlib

import tensorflow as tf

from backends import precision as policy
from backends.base import Device, Settings
from backends.devices import cores, match

# The device on which this process makes variables.
_placing = contextlib.ExitStack()


def configure(settings: Settings) -> Device:
    """See `backends.base.Settings`; TensorFlow keeps no compiled function, whatever `cache` says."""
    if settings.deterministic:
        # Operations with a hidden state of their own want a seed; nothing of ours has one.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()
    if settings.threads is not None:
        # TensorFlow takes no other number once it has computed anything: the device then says how many there are.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(settings.tf32)
    policy.apply(settings.precision)
    found = {}
    for kind in ("GPU", "TPU", "CPU"):
        for index, each in enumerate(tf.config.list_logical_devices(kind)):
            found[f"{kind.lower()}:{index}"] = each.name
    name = match(settings.device, found, {"gpu": "tensorflow-cuda"})
    _placing.close()
    _placing.enter_context(tf.device(found[name]))
    kind = name.partition(":")[0]
    threads = tf.config.threading.get_intra_op_parallelism_threads() or cores()
    return Device(kind, name, kind, threads if kind == "cpu" else None, found[name])


def peak_memory(device: Device) -> int | None:
    """See `backends.base.Backend`."""
    if device.kind == "cpu":
        return None
    return int(tf.config.experimental.get_memory_info(device.name.upper())["peak"])

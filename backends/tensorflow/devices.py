"""Accelerators, threads and precision under TensorFlow."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import tensorflow as tf

from backends import precision as policy
from backends.base import Device
from backends.devices import match
from framework.spec import Precision


def configure(
    device: str | None,
    threads: int | None,
    precision: Precision,
    cache: Path | None = None,
    tf32: bool = False,
    deterministic: bool = False,
) -> Device:
    """Choose the device for the process: an accelerator where there is one.

    Args:
        device: `cpu`, `gpu`, `tpu` or one of them with a number, `gpu:1`; None takes the best.
        threads: CPU threads; None takes all cores.
        precision: of the models to be built.
        cache: not used: TensorFlow keeps no compiled function.
        tf32: multiply float32 in TensorFloat-32 where the accelerator has it; exactly otherwise.
        deterministic: take operations that give the same bits each time, and refuse those that can't; for good.
    """
    if deterministic:
        # Operations with a hidden state of their own want a seed; nothing of ours has one.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()
    if threads is not None:
        # TensorFlow takes no other number once it has computed anything: the device then says how many there are.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    policy.apply(precision)
    found = {}
    for kind in ("GPU", "TPU", "CPU"):
        for index, each in enumerate(tf.config.list_logical_devices(kind)):
            found[f"{kind.lower()}:{index}"] = each.name
    name = match(device, found, {"gpu": "tensorflow-cuda"})
    kind = name.partition(":")[0]
    cores = tf.config.threading.get_intra_op_parallelism_threads() or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    return Device(kind, name, kind, cores if kind == "cpu" else None, found[name])

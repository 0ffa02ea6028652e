"""Accelerators, threads and precision under TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import tensorflow as tf

from backends import precision as policy
from backends.base import Device, Settings
from backends.devices import cores, match, several

# The device on which this process makes variables.
_placing = contextlib.ExitStack()
# What this process has met the others by: it can do so once.
_met: list[Any] = []


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
    _share(settings)
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
    of_kind = [place for each, place in found.items() if each.partition(":")[0] == kind]
    computing = several(settings, found[name], of_kind)
    return Device(kind, name, kind, threads if kind == "cpu" else None, found[name], all=computing)


def _share(settings: Settings) -> None:
    """Meet the other processes, and have as many simulated devices on a CPU as are asked for: before any is used."""
    world, count = settings.world, settings.devices
    cpus = tf.config.list_physical_devices("CPU")
    if count and count > 1 and (settings.device or "cpu").startswith("cpu"):
        # Once the process has computed, the number stays: `several` says so.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * count)
    gpus = tf.config.list_physical_devices("GPU")
    if world.several_here and gpus and ":" not in (settings.device or ""):
        # TensorFlow would take the memory of all of them.
        tf.config.set_visible_devices(gpus[world.local_rank % len(gpus)], "GPU")
    if world.size > 1 and not _met:
        places = world.gather(world.free_address())
        task = {"type": "worker", "index": world.rank}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": places}, "task": task})
        # It starts the servers by which TensorFlow's collective operations work.
        _met.append(tf.distribute.MultiWorkerMirroredStrategy())


def peak_memory(device: Device) -> int | None:
    """See `backends.base.Backend`."""
    if device.kind == "cpu":
        return None
    return int(tf.config.experimental.get_memory_info(device.name.upper())["peak"])

"""Accelerators, threads and precision under JAX."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import nullcontext, suppress
from pathlib import Path

import jax

from backends import precision as policy
from backends.base import Device, Settings
from backends.devices import cores, match, several
from backends.jax.coordinator import coordinator
from framework.errors import UserError

# The size of XLA's pool of threads, read once, when the process first asks for a device.
_THREADS = "PJRT_NPROC"
_PLATFORMS = "JAX_PLATFORMS"
# Whether this process has met the others: it can do so once.
_met = False
_DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_exclude_nondeterministic_ops=true")


def configure(settings: Settings) -> Device:
    """See `backends.base.Settings`.

    Raises:
        UserError: there is no such device, or `JAX_PLATFORMS` names none that is here.
    """
    if settings.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = " ".join([flags, *(flag for flag in _DETERMINISTIC if flag not in flags)]).strip()
    os.environ.setdefault(_THREADS, str(settings.threads or cores()))
    if settings.cache is not None and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(settings.cache / f"jax-{_processor()}"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_enable_x64", settings.precision == "float64")
    exact = "tensorfloat32" if settings.tf32 and settings.precision == "float32" else "highest"
    jax.config.update("jax_default_matmul_precision", exact if settings.precision in ("float32", "float64") else None)
    policy.apply(settings.precision)
    _share(settings)
    _check_platforms()
    found = {f"{_kind(each)}:{each.id}": each for each in [*_devices("gpu"), *_devices("tpu"), *_devices("cpu")]}
    name = match(settings.device, found, {"gpu": "jax-cuda", "tpu": "jax-tpu"})
    chosen = found[name]
    kind = _kind(chosen)
    # What Keras makes, and what we make, is made there.
    jax.config.update("jax_default_device", chosen)
    taken = int(os.environ[_THREADS]) if kind == "cpu" else None
    computing = several(settings, chosen, _devices(chosen.platform))
    return Device(kind, name, chosen.device_kind, taken, chosen, _free(chosen), computing)


def _share(settings: Settings) -> None:
    """Meet the other processes, and have as many simulated devices on a CPU as are asked for: before any is used."""
    global _met
    world, count = settings.world, settings.devices
    if count and (settings.device or "cpu").startswith("cpu"):
        # Once the process has computed, the number stays: `several` says so.
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)
    if world.size > 1 and not _met:
        place, patience = world.gather(world.free_address())[0], max(10, int(world.patience))
        with nullcontext() if world.rank else coordinator(place, world.size, patience):
            jax.distributed.initialize(
                place,
                world.size,
                world.rank,
                # Of several processes of a machine each has one card; the only one has all of them.
                local_device_ids=[world.local_rank] if world.several_here else None,
                initialization_timeout=int(world.patience),
                heartbeat_timeout_seconds=patience,
            )
        _met = True


def peak_memory(device: Device) -> int | None:
    """See `backends.base.Backend`."""
    found = device.handle.memory_stats() or {}
    return int(found["peak_bytes_in_use"]) if "peak_bytes_in_use" in found else None


def _check_platforms() -> None:
    """Have JAX start what `JAX_PLATFORMS` names: where that is not here, it would also not start the CPU."""
    wanted = os.environ.get(_PLATFORMS)
    if not wanted:
        return
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition(" (set ")[0].splitlines()[:1]
        why = f" ({said[0].rstrip('.')})" if said else ""
        raise UserError(
            f"{_PLATFORMS} = {wanted!r} names what JAX can't use here{why}; "
            f"cpu always works, and without {_PLATFORMS} JAX takes the best there is"
        ) from None


def _free(device: jax.Device) -> int | None:
    found = device.memory_stats() or {}
    return int(found["bytes_limit"]) - int(found["bytes_in_use"]) if "bytes_limit" in found else None


def _processor() -> str:
    """8 digits that name the processor's instructions: what was compiled for others may not run here."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    kinds = sorted({line for line in lines if line.startswith(("flags", "Features"))} or {platform.machine()})
    return hashlib.sha256("".join(kinds).encode()).hexdigest()[:8]


def _kind(device: jax.Device) -> str:
    return {"cuda": "gpu", "rocm": "gpu"}.get(device.platform, device.platform)


def _devices(platform: str) -> list[jax.Device]:
    try:
        return jax.local_devices(backend=platform)
    except RuntimeError:
        return []

"""How a spec is run: nothing here changes what the student becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backends.base import Settings
from experiments.distributed.joining import joined
from framework.errors import UserError
from framework.spec import DistillSpec
from framework.spec.validation import check


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a spec is run.

    Attributes:
        backend: `jax`, `torch` or `tensorflow`; None takes the first that is installed.
        device: `cpu`, `gpu`, `gpu:1`, `tpu`; None takes the best that is there.
        devices: on how many devices of one kind this process computes, 1 or more, or `all` that are here; None is one.
            JAX and TensorFlow can; on PyTorch, `torchrun` starts a process for each. The update is the same.
        rank_timeout: seconds without a sign of life, or without a step, after which one of several processes is taken
            for lost, and the run ends; more than 0.
        threads: CPU threads, 1 or more; None is one for views of at most 32 pixels, else the library's choice.
        compile: `torch.compile`, or XLA under TensorFlow, when True; no `jax.jit` when False; None is the backend's
            habit.
        tf32: let a GPU multiply float32 in TensorFloat-32, with 10 bits of mantissa; float32 is exact otherwise.
        grad_accum_steps: parts of a batch that are computed one after the other, in less memory, 1 or more; their
            gradients are added up, and the update is the same.
        remat: save memory by computing the student's activations again in the backward pass; the update is the same.
        deterministic: the same bits each time on an accelerator too, at some cost in speed; an operation that cannot is
            an error.
        log_every: steps between two logged losses, 1 or more; None logs about 400 points a run.
        checkpoint_minutes: longest time between two checkpoints in minutes, more than 0; each evaluation is followed by
            one too.
        checkpoint_steps: steps between two checkpoints, whatever the time, 1 or more; None for none.
        checkpoint_epochs: epochs between two checkpoints, whatever the time, more than 0; None for none.
        keep_checkpoints: how many of the latest checkpoints are kept, 1 or more.
        keep_every: keep the checkpoints at multiples of this number of steps for good; None for none.
        best_by: the value on validation data by which the best checkpoint is chosen; None is `kl` with a teacher and
            `accuracy` without.
        on_nan: when the loss is NaN or infinite, `stop` ends the run; `skip` goes back to before that step and leaves
            it out, at most ten times between two logged losses.
        store_dtype: how the finished student's weights are stored; `float16` halves the file.
        resume: the run to resume: its number, its uid (the beginning is enough), its folder, or `latest`. `duration`
            (see `extend`), backend, device and cadence may change.
        resume_anyway: resume even if the spec, the data, the teacher or the backend are not what they were.
        extend: the learning rate from here on, where `resume=` comes with another `duration`: `restart` is the whole
            schedule again over the steps that are left, warm-up included; `cosine` falls from where it is to 0;
            `constant` keeps it where it is. The run gets a new fingerprint.
        extend_level: the share of the peak learning rate at which `extend=cosine` or `extend=constant` begins, more
            than 0 and at most 1; None is what the run has reached.
    """

    backend: str | None = None
    device: str | None = None
    devices: int | Literal["all"] | None = None
    rank_timeout: float = 600.0
    threads: int | None = None
    compile: bool | None = None
    tf32: bool = False
    grad_accum_steps: int = 1
    remat: bool = False
    deterministic: bool = False
    log_every: int | None = None
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    checkpoint_epochs: float | None = None
    keep_checkpoints: int = 2
    keep_every: int | None = None
    best_by: Literal["kl", "agreement", "accuracy", "loss"] | None = None
    on_nan: Literal["stop", "skip"] = "stop"
    store_dtype: Literal["float32", "float16"] = "float32"
    resume: str | None = None
    resume_anyway: bool = False
    extend: Literal["restart", "cosine", "constant"] | None = None
    extend_level: float | None = None

    def __post_init__(self) -> None:
        for name in ("devices", "threads", "log_every", "checkpoint_steps", "keep_every"):
            value = getattr(self, name)
            check(value in (None, "all") or value > 0, name, value, "1 or more, or None")
        epochs = self.checkpoint_epochs
        check(epochs is None or epochs > 0, "checkpoint_epochs", epochs, "more than 0, or None")
        check(self.rank_timeout > 0, "rank_timeout", self.rank_timeout, "more than 0")
        check(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "more than 0")
        check(self.grad_accum_steps > 0, "grad_accum_steps", self.grad_accum_steps, "1 or more")
        check(self.keep_checkpoints > 0, "keep_checkpoints", self.keep_checkpoints, "1 or more")
        anyway = self.resume_anyway
        check(not anyway or self.resume is not None, "resume_anyway", anyway, "False without resume=ID")
        check(self.extend is None or self.resume is not None, "extend", self.extend, "None without resume=ID")
        level = self.extend_level
        check(level is None or 0 < level <= 1, "extend_level", level, "more than 0, at most 1")
        if level is not None and self.extend not in ("cosine", "constant"):
            raise UserError(f"extend_level = {level}: it is only for extend=cosine and extend=constant")

    def settings(self, spec: DistillSpec, cache: Path | None = None) -> Settings:
        """What the backend is configured with; `cache` is the folder for compiled programs.

        Processes that a launcher started together meet here first.
        """
        # On small views several threads would only wait for each other.
        threads = self.threads or (1 if max((spec.views.size, *spec.teacher_sizes)) <= 32 else None)
        devices = 0 if self.devices == "all" else self.devices
        world = joined(self.rank_timeout)
        if world.size > 1 and self.on_nan == "skip":
            raise UserError("on_nan = 'skip': several processes don't go back together; it must be 'stop'")
        return Settings(self.device, threads, spec.precision, cache, self.tf32, self.deterministic, devices, world)

"""How a spec is run: nothing here changes what the student becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from framework.validation import check


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a spec is run.

    Attributes:
        backend: `jax`, `torch` or `tensorflow`; None takes the first that is installed.
        device: `cpu`, `gpu`, `gpu:1`, `tpu`; None takes the best that is there.
        threads: CPU threads; None lets small models run on few.
        compile: `torch.compile` or XLA for TensorFlow when True; no `jax.jit` when False; None is the backend's habit.
        log_every: steps between two logged losses; None takes 400 points a run.
        checkpoint_minutes: longest time between two checkpoints; each evaluation is followed by one.
        keep_checkpoints: how many are kept.
        store_dtype: how the finished student's weights are stored; float16 halves the file.
    """

    backend: str | None = None
    device: str | None = None
    threads: int | None = None
    compile: bool | None = None
    log_every: int | None = None
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = 2
    store_dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        check(self.threads is None or self.threads > 0, "threads", self.threads, "1 or more, or None")
        check(self.log_every is None or self.log_every > 0, "log_every", self.log_every, "1 or more, or None")
        check(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "more than 0")
        check(self.keep_checkpoints > 0, "keep_checkpoints", self.keep_checkpoints, "1 or more")

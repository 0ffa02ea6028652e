"""Distilling from Python: `from experiments import distill`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.distillation import resuming
from experiments.distillation.options import RunOptions
from experiments.distillation.prepare import prepare
from experiments.distillation.teachers import policy_kept
from experiments.distillation.trained import data_for
from experiments.tracking.folders import default_root
from experiments.tracking.unobserved import NoRecorder
from framework.data.muted import muted
from framework.loop.stop import Stop
from framework.protocols import Recorder
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from datasets import DatasetDict


def distill(
    spec: DistillSpec | Mapping[str, Any],
    *,
    student: Any = None,
    teacher: Any = None,
    data: DatasetDict | Path | str | None = None,
    folder: Path | str | None = None,
    recorder: Recorder | None = None,
    quiet: bool = False,
    resume: Path | str | None = None,
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """Distil from Python, without Sacred and without a database.

    Args:
        spec: a `DistillSpec`, or its values as nested dicts.
        student: a model instead of `spec.student`: a built Keras model or, on its own backend, a `torch.nn.Module`,
            both trained in place; a Flax module, alone or as the pair (module, variables).
        teacher: such a model instead of `spec.teachers`; it stays as it is.
        data: a `datasets.DatasetDict` instead of `spec.data`, or a path.
        folder: where checkpoints and the stored student go; None keeps no file.
        recorder: told of metrics.
        quiet: show no progress.
        resume: the folder of a run of this spec, to resume from its newest checkpoint; `folder` may be the same.
        options: of `RunOptions`, such as `backend="jax"`.

    Returns:
        The trained student, of the kind that was handed over (for Flax the module and its trained variables), else a
        Keras model; and the results as nested plain values.

    Raises:
        UserError: a mistake in the arguments.
        KeyboardInterrupt: Ctrl-C or SIGTERM; with a folder, the last state is kept in it.
        Exception: whatever ended the training early.
    """
    spec = spec if isinstance(spec, DistillSpec) else DistillSpec.from_dict(spec)
    with policy_kept(), tempfile.TemporaryDirectory() as temporary:
        if data is not None:
            # The decoded pixels stay in the cache; the encoded ones are not needed after this.
            name = str(data) if isinstance(data, (str, Path)) else _on_disk(data, temporary)
            spec = replace(spec, data=replace(spec.data, name=name))
        origin = resuming.load(Path(resume)) if resume is not None else None
        chosen = RunOptions(**options, resume=None if resume is None else str(resume))
        if origin is not None:
            spec = resuming.extended(spec, chosen, origin)
        splits = data_for(spec, chosen, default_root()) if teacher is None else None
        ready = prepare(spec, chosen, student=student, teacher=teacher, splits=splits)
        if origin is not None:
            resuming.go_on(ready, origin, chosen.resume_anyway)
        with Stop().listening() as stop:
            outcome = ready.run(recorder or NoRecorder(), Path(folder) if folder else None, stop, quiet).well()
    if outcome.status != "COMPLETED":
        raise KeyboardInterrupt(outcome.status)
    trained = ready.trained_student()
    own = hasattr(trained, "given") and student is not None and student is not trained
    return trained.given() if own else trained, outcome.result


def _on_disk(data: DatasetDict, folder: str) -> str:
    with muted():
        data.save_to_disk(folder)
    return folder

"""What a distillation is, as a value: `DistillSpec` and its parts."""

from framework.spec.distill import DistillSpec, Precision
from framework.spec.parts import (
    DataSpec,
    DurationSpec,
    EvaluationSpec,
    ExtensionSpec,
    LossSpec,
    ModelSpec,
    OptimizerSpec,
    ScheduleSpec,
    TeacherSpec,
    ViewsSpec,
)

__all__ = [
    "DataSpec",
    "DistillSpec",
    "DurationSpec",
    "EvaluationSpec",
    "ExtensionSpec",
    "LossSpec",
    "ModelSpec",
    "OptimizerSpec",
    "Precision",
    "ScheduleSpec",
    "TeacherSpec",
    "ViewsSpec",
]

"""What a distillation is, as a value: `DistillSpec` and its parts."""

from framework.spec.distill import DistillSpec, Precision
from framework.spec.parts import (
    GIVEN,
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
    "GIVEN",
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

"""What a distillation is, as a value: `DistillSpec` and its parts."""

from framework.spec.distill import DistillSpec, Precision
from framework.spec.inputs import DataSpec, ViewsSpec
from framework.spec.models import GIVEN, ModelSpec, TeacherSpec
from framework.spec.training import (
    DurationSpec,
    EvaluationSpec,
    ExtensionSpec,
    LossSpec,
    OptimizerSpec,
    ScheduleSpec,
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

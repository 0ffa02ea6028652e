"""Training on labels alone: a baseline, or a teacher."""

from collections.abc import Mapping
from typing import Any


def on_labels(views: Mapping[str, Any], mixup: float) -> dict[str, Any]:
    """What a recipe on labels says in place of teachers; `mixup` as in `views.mixup`."""
    return {
        "teachers": [],
        "teaching": "labels",
        "views": {**views, "mixup": mixup},
        "loss": {"task_weight": 1.0},
    }

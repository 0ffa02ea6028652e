"""Digits: scikit-learn's 1797 real scans of 8x8 pixels, the small and quick data set.

python -m experiments.run with digits              # 10 to 40 s on a CPU core; 95 to 97 % test accuracy
python -m experiments.run with digits_labels       # the same student on labels with mixup
python -m experiments.teacher with digits_teacher  # made by itself when it is missing
"""

from typing import Any

from experiments.recipes.labels import on_labels

STUDENT = {"name": "convnet", "options": {"widths": [8, 16, 16]}}
VIEWS = {"size": 8, "area": [0.3, 1.0], "flip": False, "truncate": False}

RECIPES: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"name": "digits"},
        "student": STUDENT,
        "teachers": [{"name": "digits"}],
        "teaching": "funmatch",
        "views": VIEWS,
        "optimizer": {"lr": 1e-2, "weight_decay": 1e-3},
        "schedule": {"warmup_steps": 50},
        "duration": {"total_epochs": 3000},
        "batch_size": 100,
        "evaluation": {"num_times": 10, "train_subset": 100},
    },
    "digits_teacher": {
        "data": {"name": "digits", "train": "upstream+train"},
        "student": {"name": "convnet", "options": {"widths": [16, 32, 64]}},
        **on_labels(VIEWS | {"area": [0.5, 1.0]}, mixup=0.0),
        "optimizer": {"lr": 5e-3, "weight_decay": 1e-4},
        "schedule": {"warmup_steps": 50},
        "duration": {"total_epochs": 800},
        "batch_size": 100,
        "evaluation": {"num_times": 5},
    },
}
RECIPES["digits_labels"] = RECIPES["digits"] | on_labels(VIEWS, mixup=1.0)
RECIPES["digits_long"] = RECIPES["digits"] | {"duration": {"total_epochs": 12000}}
NOTES = {
    "digits": "scanned digits, 8 px; 3000 epochs, 10 to 40 s on a CPU core",
    "digits_labels": "the same student on labels with mixup",
    "digits_long": "12000 epochs",
    "digits_teacher": "made by itself when it is missing",
}

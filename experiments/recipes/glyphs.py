"""Glyphs: characters in many fonts over photographs, 24 px; 20 training images a class, held-out fonts in the test.

python -m experiments.run                          # the default
python -m experiments.run with glyphs_labels       # the same student on labels with mixup: the baseline
python -m experiments.teacher with glyphs_teacher  # the teacher that is stored with the project
"""

from typing import Any

from experiments.recipes.labels import on_labels

STUDENT = {"name": "convnet", "options": {"widths": [24, 48, 96], "stem_stride": 2}}
TEACHER = {"name": "convnet", "options": {"widths": [32, 64, 128], "convs_per_stage": 2, "stem_stride": 2}}
VIEWS = {"size": 24, "area": [0.4, 1.0], "flip": False, "truncate": False}

RECIPES: dict[str, dict[str, Any]] = {
    "glyphs": {
        "data": {"name": "glyphs"},
        "student": STUDENT,
        "teachers": [{"name": "glyphs"}],
        "teaching": "funmatch",
        "views": VIEWS,
        "optimizer": {"lr": 3e-2, "weight_decay": 1e-3},
        "schedule": {"warmup_steps": 200},
        "duration": {"total_steps": 5000},
        "batch_size": 64,
    },
    "glyphs_teacher": {
        "data": {"name": "glyphs", "train": "upstream"},
        "student": TEACHER,
        **on_labels(VIEWS, mixup=0.0),
        "optimizer": {"lr": 3e-3, "weight_decay": 1e-2},
        "schedule": {"warmup_steps": 100},
        "duration": {"total_steps": 3000},
        "batch_size": 128,
        "store_dtype": "float16",
    },
}
RECIPES["glyphs_labels"] = RECIPES["glyphs"] | on_labels(VIEWS, mixup=1.0)
RECIPES["glyphs_long"] = RECIPES["glyphs"] | {"duration": {"total_steps": 12000}}
NOTES = {
    "glyphs": "characters over photographs, 24 px; 5000 steps, a few minutes on two CPU cores",
    "glyphs_labels": "the same student on labels with mixup",
    "glyphs_long": "12000 steps",
    "glyphs_teacher": "the teacher that is stored with the project",
}

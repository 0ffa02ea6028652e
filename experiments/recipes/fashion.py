"""Fashion-MNIST: 28x28 photographs of clothes; 1,000 training images, 10 classes, 10,000 test images.

python -m experiments.run with fashion              # the student
python -m experiments.run with fashion_labels       # the same student on labels with mixup: the baseline
python -m experiments.teacher with fashion_teacher  # the teacher that is stored with the project

The teacher has learned from 54,000 images with their labels, the student sees 1,000 of these without. The data come
from the hub, or from Debian's and Ubuntu's package: `apt-get install dataset-fashion-mnist`. They are Zalando's, under
the MIT licence.
"""

from typing import Any

from experiments.recipes.labels import on_labels

DATA = {"name": "zalando-datasets/fashion_mnist"}
STUDENT = {"name": "convnet", "options": {"widths": [24, 48, 96], "stem_stride": 2}}
TEACHER = {"name": "convnet", "options": {"widths": [32, 64, 128], "convs_per_stage": 2, "stem_stride": 2}}
VIEWS = {"size": 28, "area": [0.4, 1.0], "truncate": False}

RECIPES: dict[str, dict[str, Any]] = {
    "fashion": {
        "data": DATA | {"train": "stratified(train)[:1000]"},
        "student": STUDENT,
        "teachers": [{"name": "fashion"}],
        "teaching": "funmatch",
        "views": VIEWS,
        "optimizer": {"lr": 1e-2, "weight_decay": 1e-3},
        "schedule": {"warmup_steps": 200},
        "duration": {"total_steps": 5000},
        "batch_size": 100,
    },
    "fashion_teacher": {
        "data": DATA,
        "student": TEACHER,
        **on_labels(VIEWS, mixup=0.0),
        "optimizer": {"lr": 3e-3, "weight_decay": 2e-4},
        "schedule": {"warmup_steps": 200},
        "duration": {"total_epochs": 10},
        "batch_size": 128,
        "store_dtype": "float16",
    },
}
RECIPES["fashion_labels"] = RECIPES["fashion"] | on_labels(VIEWS, mixup=1.0)
RECIPES["fashion_long"] = RECIPES["fashion"] | {"duration": {"total_steps": 20_000}}
NOTES = {
    "fashion": "Fashion-MNIST (MIT licence), 28 px, 1000 training images; 5000 steps, a few minutes on two CPU cores",
    "fashion_labels": "the same student on labels with mixup",
    "fashion_long": "20000 steps",
    "fashion_teacher": "the teacher that is stored with the project",
}

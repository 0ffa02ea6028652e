"""A student as one ONNX file that takes images as they are, and what OpenVINO makes of one that takes views."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.distillation.exported import CARD, IMAGES, VIEWS
from experiments.exporting.foreign import foreign
from experiments.exporting.graph import Graph, model, value
from experiments.exporting.network import network
from experiments.exporting.subject import LICENCE, Subject
from experiments.exporting.views import views
from framework.spec.validation import plain as plain_values

LOGITS, PROBABILITIES = "logits", "probabilities"
TELEMETRY = "openvino_telemetry"


def write(subject: Subject, path: Path, of_views: bool = False) -> list[Path]:
    """Write a file that takes images, or views; its outputs are `logits` and `probabilities`, float32 [N, C]."""
    path.write_bytes(_made(subject, of_views).SerializeToString())
    return [path]


def write_openvino(subject: Subject, path: Path) -> list[Path]:
    """Write an OpenVINO model, `.xml` with its weights in `.bin`: from float32 views [N, S, S, 3] to both outputs.

    Its resizing would be in single precision on a processor, which gives some pixels another level: hence the views.
    """
    # Wherever it is imported, the library would report so to its makers over the network.
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
    import openvino

    made = _made(subject, of_views=True).SerializeToString()
    openvino.serialize(openvino.Core().read_model(made, b""), str(path))
    return [path, path.with_suffix(".bin")]


def _made(subject: Subject, of_views: bool) -> Any:
    graph, size = Graph(), subject.card.image_size
    if of_views:
        given, source = value(VIEWS, np.float32, ["N", size, size, 3]), VIEWS
    else:
        given = value(IMAGES, np.uint8, ["N", "H", "W", 3])
        source = views(graph, IMAGES, size, subject.card.resize)
    if subject.is_ours:
        network(graph, subject.steps, source, LOGITS)
    else:
        foreign(graph, subject, source, LOGITS)
    graph("Softmax", LOGITS, name=PROBABILITIES)
    outputs = [value(name, np.float32, ["N", subject.card.num_classes]) for name in (LOGITS, PROBABILITIES)]
    return model(graph, [given], outputs, "student", _metadata(subject, of_views))


def _metadata(subject: Subject, of_views: bool) -> dict[str, str]:
    """What the file says about itself, as texts."""
    card, size = subject.card, subject.card.image_size
    images = f"{IMAGES}: uint8 [N, H, W, 3], RGB, upright, of any size"
    return {
        "input": f"{VIEWS}: float32 [N, {size}, {size}, 3] in [-1, 1]" if of_views else images,
        "classes": json.dumps(subject.student.classes),
        "preprocessing": json.dumps(card.preprocessing),
        "fingerprint": card.fingerprint,
        "weights_sha256": card.sha256,
        "made_by": card.made_by,
        "licence": LICENCE,
        CARD: json.dumps(plain_values(card)),
    }

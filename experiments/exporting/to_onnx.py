"""A student as one ONNX file that takes images as they are, and what OpenVINO makes of one that takes views."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.distillation.exported import CARD, IMAGES, VIEWS
from experiments.exporting.foreign import foreign
from experiments.exporting.graph import Graph, model, value
from experiments.exporting.network import network
from experiments.exporting.subject import Subject
from experiments.exporting.views import views
from framework.spec.validation import plain as plain_values

LOGITS, PROBABILITIES = "logits", "probabilities"
TELEMETRY = "openvino_telemetry"


def write(subject: Subject, path: Path) -> list[Path]:
    """Write the file; its outputs are `logits` and `probabilities`, float32 [N, C]."""
    path.write_bytes(_made(subject).SerializeToString())
    return [path]


def write_openvino(subject: Subject, path: Path) -> list[Path]:
    """Write an OpenVINO model, `.xml` with its weights in `.bin`: from float32 views [N, S, S, 3] to both outputs.

    Its resizing would be in single precision on a processor, which gives some pixels another level: hence the views.
    """
    # Wherever it is imported, the library would report so to its makers over the network.
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
    import openvino

    made = _made(replace(subject, takes_views=True)).SerializeToString()
    openvino.serialize(openvino.Core().read_model(made, b""), str(path))
    return [path, path.with_suffix(".bin")]


def _made(subject: Subject) -> Any:
    graph, size = Graph(), subject.card.image_size
    if subject.takes_views:
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
    return model(graph, [given], outputs, "student", metadata(subject))


def metadata(subject: Subject) -> dict[str, str]:
    """What the file says about itself, as texts."""
    card, views_only = subject.card, subject.takes_views
    of_views = f"{VIEWS}: float32 [N, {card.image_size}, {card.image_size}, 3] in [-1, 1]"
    return {
        "input": of_views if views_only else f"{IMAGES}: uint8 [N, H, W, 3], RGB, upright, of any size",
        "classes": json.dumps(subject.classes),
        "preprocessing": json.dumps(card.preprocessing),
        "fingerprint": card.fingerprint,
        "weights_sha256": card.sha256,
        "made_by": card.made_by,
        "licence": subject.licence,
        CARD: json.dumps(plain_values(card)),
    }

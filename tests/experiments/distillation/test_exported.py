"""Exported students answer on onnxruntime alone: these tests run where there is no engine at all."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import load_student
from experiments.distillation.exported import CARD, IMAGES, VIEWS
from experiments.exporting.graph import Graph, model, value
from experiments.exporting.network import network
from experiments.exporting.views import views
from experiments.predict import main
from framework.errors import UserError
from framework.files.stored import ModelCard
from framework.models.operations import Dense, Mean, Step
from framework.spec.validation import plain

SIZE = 8
KNOWN = ModelCard(name="convnet", classes=("blue", "green", "red"), num_classes=3, image_size=SIZE)
# A central crop, before which each image has its own size.
CROPPED = replace(KNOWN, resize=9)
# The mean of each channel says which class it is.
STEPS = (
    Step("mean", Mean(), (VIEWS,)),
    Step("head", Dense(np.eye(3, dtype=np.float32)[::-1].copy() * 5, np.zeros(3, np.float32)), ("mean",)),
)


def write(
    path: Path, takes_views: bool = False, metadata: dict[str, str] | None = None, card: ModelCard = KNOWN
) -> Path:
    graph = Graph()
    given = (
        value(VIEWS, np.float32, ["N", SIZE, SIZE, 3]) if takes_views else value(IMAGES, np.uint8, ["N", "H", "W", 3])
    )
    source = VIEWS if takes_views else views(graph, IMAGES, SIZE, card.resize)
    network(graph, STEPS, source, "logits")
    known = {CARD: json.dumps(plain(card))} if metadata is None else metadata
    made = model(graph, [given], [value("logits", np.float32, ["N", 3])], "student", known)
    path.write_bytes(made.SerializeToString())
    return path


def images() -> list[np.ndarray]:
    """Of unequal sizes, two of them alike: mostly red, green, blue and red."""
    random = np.random.default_rng(0)
    found = [random.integers(0, 90, (height, 13, 3), dtype=np.uint8) for height in (9, 20, 9, 8)]
    for channel, pixels in zip((0, 1, 2, 0), found, strict=True):
        pixels[..., channel] += 150
    return found


@pytest.mark.parametrize(("takes_views", "card"), [(False, KNOWN), (True, KNOWN), (False, CROPPED), (True, CROPPED)])
def test_it_answers_for_images_of_any_size(tmp_path: Path, takes_views: bool, card: ModelCard) -> None:
    student = load_student(write(tmp_path / "a.onnx", takes_views, card=card))
    assert student.classes == ("blue", "green", "red")
    found = student.predict(images(), batch_size=3)
    assert [student.classes[place] for place in found.argmax(-1)] == ["red", "green", "blue", "red"]
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    logits = student.preprocess(images()).mean((1, 2)) @ np.eye(3)[::-1] * 5
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if not takes_views:
        # As others use it: with an image as it is.
        (raw,) = student.session.run(["logits"], {IMAGES: images()[1][None]})  # type: ignore[union-attr]
        np.testing.assert_allclose(raw[0], logits[1], atol=1e-5)
    assert student.predict([]).shape == (0, 3)
    with pytest.raises(UserError, match="an ONNX file has no Keras model"):
        student.model  # noqa: B018


def test_the_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.onnx")
    for number, pixels in enumerate(images()):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "9.png").write_bytes(b"no image")
    assert main([str(tmp_path / "a.onnx"), str(tmp_path), "--top", "5", "--json"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["classes"][0]["class"] for row in rows] == ["red", "green", "blue", "red"]
    assert len(rows[0]["classes"]) == 3
    assert "1 of 5 images could not be read" in err
    assert main([str(tmp_path / "a.onnx"), str(tmp_path / "0.png"), "--teacher"]) == 2
    assert "doesn't say who taught it" in capsys.readouterr().err


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.onnx")
    with pytest.raises(UserError, match="runs on onnxruntime, not on backend = 'jax'"):
        load_student(path, "jax")
    with pytest.raises(UserError, match="there is no such file"):
        load_student(tmp_path / "none.onnx")
    (tmp_path / "b.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="is no ONNX file that onnxruntime can run"):
        load_student(tmp_path / "b.onnx")
    with pytest.raises(UserError, match="doesn't say what its classes are"):
        load_student(write(tmp_path / "c.onnx", metadata={}))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'onnxruntime is not installed: pip install .* "\.\[onnx\]"'):
        load_student(path)

"""A student in the files of other libraries: they give what it gives, or nothing is kept."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import load_student
from experiments.export import main
from experiments.exporting import card, formats, to_onnx
from experiments.exporting.formats import FORMATS
from framework.data.offline import OFFLINE
from framework.errors import UserError


@pytest.fixture
def export(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command in an empty folder; gives its exit code, and its lines on stdout and stderr."""
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "cache").symlink_to(cache)
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: str) -> tuple[int, list[str], list[str]]:
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def left() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.backend
def test_an_onnx_file_takes_images_and_needs_no_engine(export: Any, teacher: str, backend: str) -> None:
    code, out, err = export(teacher, "--backend", backend)
    assert code == 0, err
    assert left() == ["exported", "exported/README.md", "exported/student.onnx"]
    assert "loaded again with onnxruntime alone: on 64 images (test of digits, 900 images)" in out[0]
    student, other = load_student("exported/student.onnx"), load_student(teacher, backend)
    assert student.classes == other.classes
    random = np.random.default_rng(0)
    images = [
        random.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in [(8, 8), (20, 31), (8, 8)]
    ]
    np.testing.assert_allclose(student.predict(images), other.predict(images), atol=1e-5)
    np.testing.assert_array_equal(student.preprocess(images), other.preprocess(images))
    with pytest.raises(UserError, match="has no Keras model"):
        student.model  # noqa: B018
    known = student.session.get_modelmeta().custom_metadata_map  # type: ignore[union-attr]
    assert json.loads(known["classes"]) == list(OFFLINE["digits"].classes)
    assert known["fingerprint"] == other.card.fingerprint
    assert "Apache-2.0" in known["licence"]
    assert student.session.get_inputs()[0].shape == ["N", "H", "W", 3]  # type: ignore[union-attr]


@pytest.mark.backend
def test_the_card_says_what_it_is_and_how_it_is_loaded(export: Any, teacher: str, backend: str) -> None:
    assert export(teacher, "--backend", backend)[0] == 0
    assert export(teacher, "--backend", backend, "--format", "npz", "--output", "exported/a.npz")[0] == 0
    text = Path("exported/README.md").read_text()
    assert re.match(r"---\npipeline_tag: image-classification\nlicense: unknown\n", text)
    assert re.search(r"\| accuracy \| \d+\.\d% \(95 % interval \d+\.\d% to \d+\.\d%\) on test, 900 images \|", text)
    for row in (
        "| data | digits |",
        "| teacher | none",
        "| command | `python -m experiments.teacher",
        "squeezed to 8 x 8",
    ):
        assert row in text
    for name, lines in (("student.onnx", FORMATS["onnx"]), ("a.npz", FORMATS["npz"])):
        assert f"## Load `{name}`" in text
        assert lines.load.replace("FILE", name) in text


@pytest.mark.backend
@pytest.mark.parametrize("name", ["keras", "safetensors", "npz", "litert", "savedmodel", "openvino"])
def test_other_formats(export: Any, teacher: str, backend: str, name: str) -> None:
    if FORMATS[name].backend not in (None, backend):
        pytest.skip(f"{name} is written on {FORMATS[name].backend}")
    if name == "openvino" and not importlib.util.find_spec("openvino"):
        pytest.skip("openvino is installed where tox.ini says so")
    output = f"exported/student{FORMATS[name].suffix}"
    code, out, err = export(teacher, "--backend", backend, "--format", name)
    assert code == 0, err
    beside = ["exported/student.bin"] if name == "openvino" else []
    assert sorted(str(path) for path in Path("exported").iterdir()) == ["exported/README.md", *beside, output]
    # OpenVINO's reports to its makers are off.
    assert not sys.modules.get("openvino_telemetry")
    assert re.search(r"on 64 images .* within \d", out[0])


@pytest.mark.backend
def test_a_folder_replaces_its_own_kind_alone(export: Any, backend: str) -> None:
    if backend != FORMATS["savedmodel"].backend:
        pytest.skip("savedmodel is written on tensorflow")
    mine = Path("mine.savedmodel")
    mine.mkdir()
    (mine / "note").write_text("keep")
    code, _, err = export("glyphs", "--output", str(mine))
    assert (code, len(err), [each.name for each in mine.iterdir()]) == (2, 1, ["note"])
    assert "mine.savedmodel exists and is no savedmodel folder" in err[0]
    (mine / "saved_model.pb").write_text("of before")
    assert export("glyphs", "--output", str(mine))[0] == 0
    assert sorted(each.name for each in mine.iterdir()) == ["assets", "fingerprint.pb", "saved_model.pb", "variables"]
    assert left() == sorted(["README.md", *(str(path) for path in [mine, *mine.rglob("*")])])


@pytest.mark.backend
def test_views_instead_of_images(export: Any, teacher: str, backend: str) -> None:
    code, _, err = export(teacher, "--backend", backend, "--views")
    assert code == 0, err
    student, other = load_student("exported/student.onnx"), load_student(teacher, backend)
    images = [np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)]
    np.testing.assert_allclose(student.predict(images), other.predict(images), atol=1e-5)
    assert '"views": views' in Path("exported/README.md").read_text()


@pytest.mark.backend
def test_whole_numbers_and_what_they_cost(export: Any, teacher: str, backend: str) -> None:
    code, out, err = export(teacher, "--backend", backend, "--quantize", "int8")
    assert code == 0, err
    told = re.search(r"agrees with the student on (.*)% of test .*accuracy (.*)% before, (.*)% after", out[0])
    assert told, out
    agreement, before, after = (float(number) for number in told.groups())
    assert agreement > 90
    assert abs(before - after) < 5
    assert told[0] in Path("exported/README.md").read_text()
    student = load_student("exported/student.onnx")
    assert {each.name for each in student.session.get_inputs()} == {"images"}  # type: ignore[union-attr]
    assert before == pytest.approx(
        100 * load_student(teacher, backend).card.result["test"]["student"]["accuracy"], abs=0.02
    )


@pytest.mark.backend
def test_a_stored_model_is_checked_on_photographs(export: Any, backend: str) -> None:
    code, _, err = export("glyphs", "--backend", backend)
    assert code == 0, err
    assert "photographs that come with scikit-learn (a stored model doesn't know its data: give --data NAME)" in err[0]
    code, _, err = export("glyphs", "--backend", backend, "--quantize", "int8")
    assert (code, len(err)) == (2, 3)
    assert "--quantize int8 needs training images to calibrate on, and a stored model doesn't know its data" in err[-1]


def spoilt(subject: Any, path: Path) -> list[Path]:
    """A file of other weights than the student's."""
    steps = tuple(subject.steps)
    head = replace(steps[-1], does=replace(steps[-1].does, bias=steps[-1].does.bias + 1e-3))
    subject.__dict__["steps"] = (*steps[:-1], head)
    return to_onnx.write(subject, path)


@pytest.mark.backend
def test_a_file_that_differs_is_not_kept(export: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=spoilt))
    code, out, err = export("glyphs", "--backend", backend)
    assert (code, out) == (1, [])
    assert re.search(r"student.onnx is not kept: its logits differ from the student's by 0\.001", err[-1])
    assert left() == []


@pytest.mark.backend
@pytest.mark.parametrize(("error", "expected"), [(KeyboardInterrupt(), 130), (OSError("no room"), 1)])
def test_what_is_interrupted_leaves_nothing(
    export: Any, backend: str, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: int
) -> None:
    Path("exported").mkdir()
    Path("exported/student.onnx").write_text("of before")

    def write(subject: Any, path: Path) -> list[Path]:
        path.write_text("half of it")
        raise error

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=write))
    assert export("glyphs", "--backend", backend)[0] == expected
    assert left() == ["exported", "exported/student.onnx"]
    assert Path("exported/student.onnx").read_text() == "of before"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--format", "onxx"],
            "--format onxx: did you mean 'onnx'? allowed: keras, litert, npz, onnx, openvino, safetensors",
        ),
        (["--output", "a.txt"], "--output a.txt: --format says which kind of file"),
        (["--output", "a.keras", "--format", "onnx"], "a file of the format onnx ends in .onnx"),
        (["--format", "keras", "--views"], "--views: a file of the format keras takes views already"),
        (["--format", "npz", "--quantize", "int8"], "--quantize int8: allowed with --format onnx, not with npz"),
        (["--quantize", "int4"], "--quantize 'int4': did you mean 'int8'?"),
        (["--output", "taken/README.md/a.onnx"], "nothing can be written to "),
        (["--output", "taken/a.onnx"], "README.md is not ours, and the model card would replace it"),
        (["--output", "folder.onnx"], "--output folder.onnx is a folder"),
        (["--formt", "onnx"], "unknown option --formt: did you mean --format?"),
    ],
)
def test_mistakes_are_one_line_and_two(export: Any, words: list[str], told: str) -> None:
    Path("taken").mkdir()
    Path("taken/README.md").write_text("# Mine")
    Path("folder.onnx").mkdir()
    before = left()
    code, out, err = export("glyphs", *words)
    assert (code, out, len(err)) == (2, [], 1), err
    assert told in err[0]
    assert left() == before


def test_what_is_missing_is_named_with_its_extra(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    code, _, err = export("glyphs", "--format", "onnx")
    assert (code, len(err)) == (2, 1)
    assert 'needs onnx and onnxruntime: pip install -c constraints.txt -e ".[onnx]"' in err[0]


def test_a_student_that_is_not_there(export: Any) -> None:
    code, _, err = export("./nowhere")
    assert (code, len(err)) == (2, 1)
    assert "there is no stored student" in err[0]
    Path("a.onnx").write_bytes(b"")
    code, _, err = export("a.onnx")
    assert (code, len(err)) == (2, 1)
    assert "a.onnx is exported already" in err[0]


def test_somebody_elses_readme_stays(tmp_path: Path) -> None:
    card.check(tmp_path)
    (tmp_path / "README.md").write_text(f"---\n{card.MARK}\n")
    card.check(tmp_path)
    (tmp_path / "README.md").write_text("# Mine")
    with pytest.raises(UserError, match="is not ours"):
        card.check(tmp_path)

"""The formats: what each is called, who writes it, and the lines by which anybody loads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from experiments.exporting import to_onnx, writers
from experiments.exporting.subject import Subject
from framework.errors import UserError, near


@dataclass(frozen=True)
class Format:
    """A kind of file, or of folder.

    Attributes:
        suffix: of the file.
        write: writes a student to a path, and returns its files.
        load: the lines that load the file `FILE`, as they stand in its model card and are run when it is checked.
        run: the line after them that gives `logits`, from `images` or from `views`; or that gives `arrays` by name.
        takes: what that line reads: uint8 `images` [N, H, W, 3]; float32 `views` [N, S, S, 3]; views with the channels
            first, [N, 3, S, S]; or nothing.
        libraries: that they need, and that are needed to write it.
        extra: of the project, which brings them; empty where they are there.
        backend: on which it is written; None takes the one asked for.
        is_folder: it is a folder.
        second: what is said of the file beside it, if there is one.
    """

    suffix: str
    write: Callable[[Subject, Path], list[Path]]
    load: str
    run: str
    takes: str
    libraries: tuple[str, ...]
    extra: str = ""
    backend: str | None = None
    is_folder: bool = False
    second: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """The libraries that its users need: all but the one that only writes."""
        return tuple(name for name in self.libraries if name != "onnx")

    def of_views(self) -> Format:
        """The same, of a file that takes views instead of images."""
        write, run = partial(to_onnx.write, of_views=True), self.run.replace('"images": images', '"views": views')
        return replace(self, write=write, run=run, takes="views")


FORMATS: dict[str, Format] = {
    "onnx": Format(
        suffix=".onnx",
        write=to_onnx.write,
        load='import onnxruntime\nsession = onnxruntime.InferenceSession("FILE")',
        run='(logits,) = session.run(["logits"], {"images": images})',
        takes="images",
        libraries=("onnx", "onnxruntime"),
        extra="onnx",
    ),
    "keras": Format(
        suffix=".keras",
        write=writers.keras,
        load='import keras\nmodel = keras.saving.load_model("FILE")',
        run="logits = model.predict_on_batch(views)",
        takes="views",
        libraries=("keras",),
    ),
    "torch": Format(
        suffix=".pt2",
        write=writers.torch,
        load='import torch\nmodel = torch.export.load("FILE").module()',
        run="logits = model(torch.from_numpy(views)).detach().numpy()",
        takes="channels first",
        libraries=("torch",),
        extra="torch",
        backend="torch",
        second="is its state dict",
    ),
    "litert": Format(
        suffix=".tflite",
        write=writers.litert,
        load='import tensorflow\nmodel = tensorflow.lite.Interpreter("FILE").get_signature_runner()',
        run="(logits,) = model(views=views).values()",
        takes="views",
        libraries=("tensorflow",),
        extra="tensorflow",
        backend="tensorflow",
    ),
    "savedmodel": Format(
        suffix=".savedmodel",
        write=writers.savedmodel,
        load='import tensorflow\nmodel = tensorflow.saved_model.load("FILE")',
        run="logits = model.serve(views).numpy()",
        takes="views",
        libraries=("tensorflow",),
        extra="tensorflow",
        backend="tensorflow",
        is_folder=True,
    ),
    "openvino": Format(
        suffix=".xml",
        write=to_onnx.write_openvino,
        # Left to itself it computes in bfloat16 where the processor can.
        load='import openvino\nmodel = openvino.compile_model("FILE", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
        run='logits = model({"views": views})["logits"]',
        takes="views",
        libraries=("onnx", "openvino"),
        extra="openvino",
        second="has its weights and stays beside it",
    ),
    "safetensors": Format(
        suffix=".safetensors",
        write=writers.safetensors,
        load="from safetensors.numpy import load_file",
        run='arrays = load_file("FILE")',
        takes="",
        libraries=("safetensors",),
    ),
    "npz": Format(
        suffix=".npz",
        write=writers.npz,
        load="import numpy",
        run='arrays = dict(numpy.load("FILE"))',
        takes="",
        libraries=("numpy",),
    ),
}


def chosen(name: str | None, output: Path | None) -> str:
    """The format that is asked for, or that the file's suffix means; ONNX where neither says anything.

    Raises:
        UserError: an unknown one, or one whose files end otherwise.
    """
    known = {each.suffix: called for called, each in FORMATS.items()}
    suffix = output.suffix if output else ""
    if name is None and output is not None and suffix not in known:
        raise UserError(f"--output {output}: --format says which kind of file; allowed: {', '.join(FORMATS)}")
    name = name or known.get(suffix, "onnx")
    if name not in FORMATS:
        raise UserError(f"--format {name}: {near(name, FORMATS)}")
    if output is not None and suffix != FORMATS[name].suffix:
        raise UserError(f"--output {output}: a file of the format {name} ends in {FORMATS[name].suffix}")
    return name


def check_libraries(name: str) -> None:
    """Refuse a format whose libraries are missing.

    Raises:
        UserError: it says what to install.
    """
    missing = [each for each in FORMATS[name].libraries if importlib.util.find_spec(each) is None]
    if missing:
        extra = FORMATS[name].extra
        how = f'pip install -c constraints.txt -e ".[{extra}]"' if extra else f"pip install {' '.join(missing)}"
        raise UserError(f"--format {name} needs {' and '.join(missing)}: {how}")

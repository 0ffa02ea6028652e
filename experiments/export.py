"""Put a trained student into a file of another library: `python -m experiments.export RUN --format onnx`.

    python -m experiments.export latest --output student/student.onnx
    python -m experiments.export best --format keras --output student/student.keras
    python -m experiments.export ./my_student --format torch --data ./photos

RUN is `latest`, `best` (by validation accuracy), a run's number or uid (the beginning is enough), or the folder of a
run or of a stored model. Formats:

    onnx         takes uint8 images of any size: resizing, crop and range are inside; --views: takes views instead
    keras        of Keras's own layers: loads where only Keras is
    litert       for LiteRT (TensorFlow Lite), .tflite; written on TensorFlow
    savedmodel   TensorFlow's folder, for TensorFlow Serving; written on TensorFlow
    openvino     .xml with its .bin
    torch        a torch.export program (.pt2) with its state dict (.pt): needs PyTorch alone
    safetensors  the parameters by name
    npz          the same; of BiT in the authors' layout

A model card, README.md, is written beside the file. The file is loaded again in a process that has no more than its
users have, and its logits are compared with the student's on 64 test images: within 1e-4, or a hundred thousandth of
the largest where that is more than 10, and the same class first for each. Else nothing is kept.

Exit codes: 0 done, 1 the file doesn't give what the student gives, 2 a mistake in the command, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command.exit import DONE, FAULT, Parser, guarded, say
from experiments.db import add_address
from experiments.tracking.folders import default_root

NAME = "experiments.export"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser.described(NAME, __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="latest, best, a number, a uid or a folder")
    add(
        "--format",
        metavar="NAME",
        help="onnx, keras, torch, litert, savedmodel, openvino, safetensors or npz (as the file ends; onnx)",
    )
    add("--output", type=Path, metavar="FILE", help="the file (exported/student with the format's suffix)")
    add("--views", action="store_true", help="onnx: take views [N, S, S, 3] in [-1, 1] instead of images")
    add("--quantize", choices=("int8",), help="onnx: round weights and activations, calibrated on training images")
    add("--data", metavar="NAME", help="data to check the file on (the run's own)")
    add("--backend", metavar="NAME", help="jax, torch or tensorflow (the first that is installed)")
    add_address(parser)
    return parser.parse_args(arguments)


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    from experiments.distillation.student import find_student
    from experiments.exporting.checking import NotTheSame
    from experiments.exporting.exporting import Wanted, export

    root = (found.dir or default_root()).absolute()
    wanted = Wanted.from_words(found)
    folder = find_student(found.run, root, found.uri)
    try:
        for line in export(folder, wanted, root, lambda line: say(NAME, line)):
            print(line)
    except NotTheSame as error:
        say(NAME, f"{wanted.output} is not kept: {error}")
        return FAULT
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    found = parse(arguments)
    return guarded(NAME, lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

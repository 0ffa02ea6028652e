"""What people type by mistake: the exit code is 2, one line names what to write instead, and nothing is left behind."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking.mongod import VARIABLE

RUN, TEACHER, SWEEP, PARITY, RUNS, FIGURES = (
    f"experiments.{name}"
    for name in ("run", "teacher", "sweep.__main__", "parity.__main__", "runs", "figures.__main__")
)
MINE = """
import keras

def build(num_classes, image_size):
    '''Takes images of 12 pixels, whatever the views are.'''
    return keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(num_classes)])

def no_model(num_classes, image_size):
    return 3

def scalar(student, teacher, temperature):
    return keras.ops.mean((student - teacher) ** 2)

def two(student, teacher):
    return keras.ops.mean((student - teacher) ** 2, axis=-1)

def grey(views, uniforms):
    return keras.ops.mean(views, axis=-1, keepdims=True)

def pixels(views, uniforms):
    return keras.ops.cast(255 * views, "uint8")

def one(views):
    return views

def logs(views, uniforms):
    return keras.ops.log(views)

def raising(num_classes, image_size):
    return {}["weights"]

def leaving(num_classes, image_size):
    raise SystemExit(0)

def layered(num_classes, image_size, **options):
    head = keras.layers.Dense(num_classes, **options)
    return keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Flatten(), head])

def frozen(num_classes, image_size):
    model = layered(num_classes, image_size)
    model.trainable = False
    return model

def same(num_classes, image_size):
    return layered(num_classes, image_size, kernel_initializer="zeros")
"""
# In a folder with photos/train/{cat,dog,owl}/*.png, letters/{a,...,j}/*.png, mine.py and an empty folder named empty:
# the command line, and what the message must name.
WORDS: list[tuple[str, str, tuple[str, ...]]] = [
    # Keys without their part, and other libraries' words.
    (RUN, "with lr=0.1", ("'lr'", "'optimizer.lr'")),
    (RUN, "with temperature=4", ("'temperature'", "'loss.temperature'")),
    (RUN, "with epochs=10", ("'epochs'", "'duration.total_epochs'")),
    (RUN, "with batch=32", ("'batch'", "'batch_size'")),
    (RUN, "with size=64", ("'size'", "'views.size'")),
    (RUN, "with weight_decay=1e-4", ("'weight_decay'", "'optimizer.weight_decay'")),
    (RUN, "with learning_rate=0.1", ("'optimizer.lr'",)),
    (RUN, "with optimizer.learning_rate=0.1", ("'optimizer.lr'",)),
    (RUN, "with image_size=64", ("'views.size'",)),
    (RUN, "with momentum=0.9", ("'optimizer.b1'",)),
    (RUN, "with alpha=0.5", ("'loss.task_weight'",)),
    (RUN, "with widths=[8,16]", ("'student.options.widths'",)),
    (RUN, "with model=bit", ("'student'",)),
    (RUN, "with dataset=photos", ("'data'",)),
    (RUN, "with pretrained=w.npz", ("'student.weights'",)),
    (RUN, "with amp=True", ("'precision'",)),
    (RUN, "with num_classes=5", ("num_classes", "is the data's")),
    (RUN, "with views.lr=0.1", ("'views.lr'", "'optimizer.lr'")),
    (RUN, "with optimiser.lr=0.1", ("'optimizer.lr'",)),
    (RUN, "with optimizer.lrr=0.1", ("'optimizer.lrr'", "'lr'")),
    (RUN, "with batchsize=3", ("'batch_size'",)),
    (RUN, "with views.crop=0.5", ("'views.crop'", "'views.area'")),
    (RUN, "with gpus=2", ("'gpus'", "'devices'")),
    (RUN, "with devices=two", ("devices = 'two'", "an integer or 'all' or None")),
    (RUN, "with dropout=0.5", ("'dropout'", "in the student itself")),
    (RUN, "with ema_decay=0.99", ("'ema_decay'", "no average of weights")),
    (RUN, "with cutmix=1", ("'cutmix'", "views.mixup")),
    (RUN, "with digits student.options.widths=[8,16", ("'student.options.widths=[8,16'", "a list is written [8,16]")),
    (RUN, "with digits student.options={a:1}", ("can't be read", "keys and values")),
    (RUN, "with zzz=3", ("'zzz'", "--help")),
    # Options of other programs.
    (RUN, "--lr 0.1", ("--lr", "with optimizer.lr=0.1")),
    (RUN, "-lr 0.1", ("with optimizer.lr=0.1",)),
    (RUN, "--epochs 10", ("--epochs", "with duration.total_epochs=10")),
    (RUN, "--epochs=10 with digits", ("with duration.total_epochs=10",)),
    (RUN, "--batch-size 32", ("--batch-size", "with batch_size=32")),
    (RUN, "-b 32", ("-b", "with batch_size=32")),
    (RUN, "--opt sgd", ("with optimizer=sgd",)),
    (RUN, "--seed 3 with digits", ("with seed=3",)),
    (RUN, "--device gpu", ("with device=gpu",)),
    (RUN, "--output-dir x", ("--output-dir", "EXPERIMENTS_DIR")),
    (RUN, "--gpu 0 with digits", ("--gpu", "with device=gpu:0")),
    (RUN, "--config x.yaml", ("--config", "with FILE.json")),
    (RUN, "--wandb with digits", ("--wandb", "experiments.runs export --to wandb-offline")),
    (TEACHER, "--epochs 10", ("with duration.total_epochs=10",)),
    (SWEEP, "over seed=1,2 with digits --epochs 10", ("--epochs", "with duration.total_epochs=10")),
    (PARITY, "--lr 0.1", ("--lr", "with optimizer.lr=")),
    # Slips in options and in the order of words.
    (RUN, "--jornal-only with digits", ("unknown option --jornal-only", "did you mean --journal-only")),
    (SWEEP, "over seed=1,2 with digits --jornal-only", ("--jornal-only", "did you mean --journal-only")),
    (RUN, "--nosuch", ("unknown option --nosuch",)),
    (RUNS, "lst", ("there is no command 'lst'", "did you mean 'list'")),
    (RUNS, "list --jsn", ("unknown option --jsn", "did you mean --json")),
    (RUNS, "show 1 2", ("unexpected '2'",)),
    (RUNS, "export --to tensorbord --output x", ("--to 'tensorbord'", "did you mean 'tensorboard'")),
    (RUNS, "curves 1 --plot a.png --log z", ("--log 'z'", "allowed: x, xy, y")),
    (FIGURES, "patience --output patience.png", ("--output patience.png", "it is a folder")),
    (RUN, "-m", ("-m needs a value",)),
    (RUN, "with", ("nothing follows 'with'",)),
    (RUN, "digits", ("'digits'", "write 'with' before")),
    (RUN, "plan digits", ("'digits'", "write 'with' before")),
    (RUN, "plam with digits", ("'plam'", "did you mean 'plan'")),
    (RUN, "with digits seed 3", ("'seed'", "seed=VALUE")),
    (RUN, "with lr 0.1", ("optimizer.lr=VALUE",)),
    (RUN, "with digit", ("'digit'", "did you mean 'digits'")),
    (RUN, "with student.options.widths=[8, 16]", ("quote it", "'student.options.widths=[8, 16]'")),
    (RUN, "with teachers=['digits', 'glyphs']", ("quote it",)),
    (RUN, "with teaching=same/ic, mix", ("teaching=same/ic,mix",)),
    (RUN, "with data=", ("'data=' has no value",)),
    (RUN, "with resume=", ("'resume=' has no value",)),
    (RUN, "with teacher= seed=3", ("'teacher=' has no value",)),
    (RUN, "with teacher=digits teacher.normalize=imagenett", ("teacher.normalize = 'imagenett'", "'imagenet'")),
    (RUN, "with digits with seed=3", ("'with' is written once",)),
    (RUN, "with digits --with seed=3", ("--with", "write 'with', without dashes")),
    (RUN, "with seed = 3", ("no spaces around '='", "seed=3")),
    (RUN, "with digits,seed=3", ("no comma between keys, digits seed=3",)),
    (RUN, "with epochs", ("'epochs' has no value", "duration.total_epochs=VALUE")),
    (RUN, "with @file", ("no recipe '@file'", "--help lists them")),
    (RUN, "\N{EN DASH}lr 0.1", ("begins with a long dash", "with optimizer.lr=0.1")),
    (RUN, "with data=.\\photos", ("'.\\\\photos'", "did you mean photos?")),
    (RUN, "with resume=999999", ("'999999'", "without a database runs have no numbers")),
    (RUN, "with resume=../..", ("no run '../..'", "there are no runs")),
    (RUN, "with seed=1, batch_size=3", ("no comma between keys", "seed=1 batch_size=3")),
    # Values.
    (RUN, "with backend=jaxx", ("'jaxx'", "did you mean 'jax'")),
    (RUN, "with batch_size=many", ("batch_size = 'many'", "an integer")),
    (RUN, "with duration=long", ("duration = 'long'", "duration.total_epochs=...")),
    (RUN, "with views=64", ("views = 64", "views.size=...")),
    (RUN, "with teaching=funmach", ("'funmach'", "did you mean 'funmatch'")),
    (RUN, "with teaching=labels teacher=digits", ("teaching=labels", "drop teacher=")),
    (RUN, "with extend=restart", ("extend", "resume=ID")),
    (RUN, "with resume=latest", ("'latest'", "has a checkpoint")),
    (TEACHER, "with digits", ("teaching=labels",)),
    (SWEEP, "over seed=1,2 with digits seed=3", ("'seed' is given twice",)),
    (SWEEP, "over lr=1,2 with digits", ("'optimizer.lr'",)),
    (PARITY, "with lr=0.1", ("'optimizer.lr'",)),
    (PARITY, "with digits teacher=digits", ("'digits'", "random", "teacher=convnet")),
    (PARITY, "digits", ("'digits'", "write 'with' before")),
    # Files.
    (RUN, "with data=./photo", ("'./photo'", "{here}/photo", "did you mean photos?")),
    (RUN, "with data=~nobody_here/photos", ("'~nobody_here/photos'", "{here}/~nobody_here/photos")),
    (RUN, "with teacher=bit teacher.weights=~nobody_here/w.npz", ("teacher.weights", "{here}/~nobody_here/w.npz")),
    (RUN, "with data=/no/where", ("/no/where", "no folder /no")),
    (RUN, "with student.weights=w.npz", ("student.weights", "{here}/w.npz")),
    (RUN, "with teacher=bit teacher.weights=w.npz", ("teacher.weights", "{here}/w.npz")),
]
# These load a backend.
LOADED: list[tuple[str, str, tuple[str, ...]]] = [
    (RUN, "with loss=kll", ("'kll'", "did you mean 'kl'")),
    (RUN, "with optimizer=sdg", ("'sdg'", "did you mean 'sgd'")),
    (RUN, "with schedule=cosin", ("'cosin'", "did you mean 'cosine'")),
    (RUN, "with student=convnett", ("'convnett'", "did you mean 'convnet'")),
    (RUN, "with teacher=./my_teacher", ("{here}/my_teacher", "no such folder")),
    (RUN, "with teacher=my_teacher", ("'my_teacher'", "none of this name in {here}")),
    (RUN, "with teacher=./empty", ("./empty", "model.json")),
    (RUN, "with student=nowhere:build", ("'nowhere'", "{here}")),
    (RUN, "with student=mine:biuld", ("'biuld'", "did you mean 'build'")),
    (RUN, "with student=mine:no_model", ("mine:no_model", "expected a keras.Model")),
    (RUN, "with student=mine.py:build", ("did you mean mine:build?",)),
    (RUN, "with student=./mine:build", ("did you mean mine:build?",)),
    (RUN, "with digits student.options.widths=0", ("widths=[0] must be positive whole numbers",)),
    (RUN, "with teacher=mine:build teacher.classes=no.txt data=./photos", ("'no.txt'", "{here}/no.txt")),
    (RUN, "with student=slip:build", ("'slip:build'", "SyntaxError", "line 3")),
    (RUN, "with loss=slip:loss", ("'slip:loss'", "SyntaxError")),
    (RUN, "with student=late:build", ("'late:build'", "ImportError", "nothing_like_it", "late.py, line 1")),
    (RUN, "with digits student=mine:raising", ("'mine:raising' fails: KeyError: 'weights'", "mine.py, line")),
    (RUN, "with digits student=mine:leaving", ("'mine:leaving' fails: SystemExit",)),
    (RUN, "with data=./photos student=mine:frozen teacher=mine:layered", ("no parameter that can be trained",)),
    (RUN, "with data=./photos teacher=mine:same", ("'mine:same'", "the same answer for every image")),
    (RUN, "with loss=mine.loss", ("'mine.loss'", "package.module:function")),
    (RUN, "with digits device=gpu:7", ("'gpu:7' is not here", "cpu:0")),
    (RUN, "with digits device=quantum", ("'quantum'", "cpu:0")),
    (RUN, "with digits data.test=nosuch", ("'nosuch'", "data.test")),
    (RUN, "with digits student.options.widths=[a,b]", ("widths=['a', 'b'] must be positive whole numbers",)),
    (RUN, "with digits student.options.widths=[0]", ("widths=[0]",)),
    (RUN, "with data=./photos", ("33 classes", "have 3", "experiments.teacher with data=./photos")),
    (RUN, "plan with data=./photos", ("33 classes", "have 3", "experiments.teacher with data=./photos")),
    (RUN, "with digits data=./photos", ("10 classes", "have 3", "experiments.teacher with data=./photos")),
    (RUN, "with data=./photos teacher=mine:build", ("mine:build", "views.teacher_size=12")),
    (RUN, "with data=./empty", ("./empty", "no images")),
    (RUN, "with data=photo teaching=labels", ("'photo'", "no such file or folder in {here}")),
    (RUN, "with data=./letters teacher=digits", ("no class 'a'", "experiments.teacher with data=./letters")),
    (RUN, "plan with data=./letters teacher=digits", ("no class 'a'", "experiments.teacher with data=./letters")),
    (RUN, "with teacher=~/no_teacher.keras", ("no such file", "/no_teacher.keras")),
    (RUN, "with student=none.keras", ("student.name = 'none.keras'", "{here}/none.keras")),
    # A user's own loss and augmentations, before the teacher 'digits' would be trained.
    (RUN, "with digits loss=mine:scalar", ("'mine:scalar'", "returns a scalar", "expected [2]")),
    (RUN, "with digits loss=mine:two", ("'mine:two'", "it takes (student, teacher)")),
    (RUN, "with digits views.augmentations=['mine:one']", ("'mine:one' fails on two views", "TypeError")),
    (
        RUN,
        "with digits views.augmentations=['mine:grey']",
        ("'mine:grey' returns float32 [2, 8, 8, 1]", "[2, 8, 8, 3]"),
    ),
    (RUN, "with digits views.augmentations=['mine:pixels']", ("'mine:pixels' returns uint8 [2, 8, 8, 3]", "dtype")),
    (RUN, "with digits views.augmentations=['mine:logs']", ("'mine:logs' gives NaN",)),
    (SWEEP, "over seed=1,2 with digits loss=mine:scalar", ("'mine:scalar'", "returns a scalar")),
    (SWEEP, "over loss=kl,kll with digits", ("did you mean 'kl'",)),
    (SWEEP, "over seed=1,2 with data=./photos", ("experiments.teacher with data=./photos",)),
    (TEACHER, "with data=./photos student.weights=./photos", ("no stored model", "photos")),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("here")
    (folder / "mine.py").write_text(MINE)
    (folder / "slip.py").write_text("import os\n\ndef build(num_classes, image_size)\n    return None\n")
    (folder / "late.py").write_text("from mine import nothing_like_it\n")
    (folder / "empty").mkdir()
    for number, name in enumerate("abcdefghij"):
        (folder / "letters" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 25 * number).save(folder / "letters" / name / "0.png")
    for split in ("train", "test"):
        for shade, name in enumerate(("cat", "dog", "owl")):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(3):
                colour = (80 * shade, 9 * number, split == "test")
                Image.new("RGB", (26, 30), colour).save(folder / "photos" / split / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv(VARIABLE, raising=False)
        yield folder


def files(folder: Path) -> set[Path]:
    """What is there beside caches: of bytecode, and of data that were read before they were refused."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path for path in found if path.parts[:2] != ("root", "cache") and "__pycache__" not in path.parts}


def ended(module: str, words: list[str]) -> tuple[int, str]:
    """The exit code of a command in this process, and what it says."""
    command: Any = importlib.import_module(module)
    main = command.PROGRAM.main if hasattr(command, "PROGRAM") else command.main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    assert out.getvalue() == ""
    return code, err.getvalue()


@pytest.mark.parametrize(
    ("module", "line", "named"),
    [*WORDS, *(pytest.param(*case, marks=pytest.mark.backend) for case in LOADED)],
    ids=lambda value: value if isinstance(value, str) and not value.startswith("experiments") else "",
)
def test_a_mistake_is_told_and_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, backend: str, module: str, line: str, named: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(here / "root"))
    before = files(here)
    # What is refused by its words alone needs no backend; what loads one takes this session's.
    words = [*line.split(), *([f"backend={backend}"] if (module, line, named) in LOADED else [])]
    code, told = ended(module, words)
    assert code == 2, told
    (last,) = told.splitlines()[-1:]
    for each in named:
        assert each.format(here=here) in last
    assert len(last) < 700
    assert files(here) - before <= {Path("root")}


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("loss=l2", "loss.distance=l2"),
        ("duration=100", "duration.total_steps=100"),
        ("teachers=digits", "teachers=['digits']"),
        ("optimizer=sgd", "optimizer.name=sgd"),
        ("backend=tf", "backend=tensorflow"),
        ("backend=PyTorch", "backend=torch"),
    ],
)
def test_short_forms(short: str, whole: str) -> None:
    from experiments import config

    assert config.read(["digits", short])[0] == config.read(["digits", whole])[0]
    part = whole.partition("=")[0].partition(".")[0]
    if "." in whole.partition("=")[0] and part != "duration":
        other = {"loss": "loss.temperature=2", "optimizer": "optimizer.lr=0.5"}[part]
        assert config.read([short, other])[0] == config.read([other, short])[0] == config.read([whole, other])[0]

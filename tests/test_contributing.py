"""CONTRIBUTING.md to the letter: its steps in a copy of the project, with a right addition and with a wrong one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("framework", "backends", "experiments", "tests")
# Paths that a section of CONTRIBUTING.md names in its numbered steps.
STEP = re.compile(r"^\d+\. `([^`]+)`", re.MULTILINE)


@dataclass(frozen=True)
class Addition:
    """What a contributor writes.

    Attributes:
        name: of what is added.
        files: for each file, pairs of a text in it and what goes before that; a new file has the text "" alone.
        mistake: a text of it, and what makes it wrong.
    """

    name: str
    files: Mapping[str, tuple[tuple[str, str], ...]]
    mistake: tuple[str, str]


LOSS = Addition(
    "l1",
    {
        "framework/losses.py": (
            (
                "DISTANCES: Mapping",
                "def l1(student_bc: Tensor, teacher_bc: Tensor, temperature: float) -> Tensor:\n"
                '    """Sum of the logits\' differences; arguments as in `kl`, the temperature is not used."""\n'
                "    del temperature\n"
                "    return ops.sum(ops.abs(student_bc - teacher_bc), axis=-1)\n\n\n",
            ),
            ('    "kl": kl,\n', '    "l1": l1,\n'),
        ),
        "tests/framework/test_losses.py": (
            ('    "kl": lambda', '    "l1": lambda s, t, temperature: np.abs(s - t).sum(-1),\n'),
        ),
    },
    ("ops.sum(ops.abs", "1.001 * ops.sum(ops.abs"),
)
AUGMENTATION = Addition(
    "darkness",
    {
        "framework/views.py": (
            (
                "AUGMENTATIONS: Mapping",
                "def darkness(views: Tensor, uniforms: Tensor) -> Tensor:\n"
                '    """Darken each view by up to a half; [B, S, S, 3] with uniform numbers [B, 8]."""\n'
                "    return ops.clip(views - uniforms[:, 3, None, None, None], -1.0, 1.0)\n\n\n",
            ),
            ('"brightness": brightness', '"darkness": darkness, '),
        ),
        "tests/framework/test_views.py": (
            (
                '    "brightness": lambda',
                '    "darkness": lambda v, u: np.clip(v - u[:, 3, None, None, None], -1, 1),\n',
            ),
        ),
    },
    ("uniforms[:, 3", "uniforms[:, 2"),
)
RECIPE = Addition(
    "mine",
    {
        "experiments/recipes/mine.py": (
            (
                "",
                '"""Mine: the digits with Euclidean distances.\n\n'
                "python -m experiments.run with mine  # half a minute on a CPU core\n"
                '"""\n\n'
                "from typing import Any\n\n"
                "from experiments.recipes import digits\n\n"
                "RECIPES: dict[str, dict[str, Any]] = {\n"
                '    "mine": digits.RECIPES["digits"] | {"loss": {"distance": "euclidean"}},\n'
                "}\n"
                'NOTES = {"mine": "the digits with Euclidean distances"}\n',
            ),
        ),
        "experiments/recipes/__init__.py": (("paper\n", "mine, "), ("paper)", "mine, ")),
    },
    ('"euclidean"', '"euclidian"'),
)
ADDITIONS = {"loss": LOSS, "augmentation": AUGMENTATION, "recipe": RECIPE}
TESTS = ("tests/framework/test_losses.py", "tests/framework/test_views.py", "tests/experiments/test_recipes.py")


def steps(section: str) -> set[str]:
    """The files that CONTRIBUTING.md says are touched."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return set(STEP.findall(text.partition(f"\n### {section}\n")[2].partition("\n#")[0]))


def copied(folder: Path) -> Path:
    """The project's files in a folder of their own; the recordings are only linked."""
    ignored = shutil.ignore_patterns("__pycache__", "golden", ".*")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "tests/golden").symlink_to(ROOT / "tests/golden")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def follow(addition: Addition, folder: Path, wrong: bool) -> None:
    """Take the steps of a section; the mistake goes into the first file that has room for it."""
    for name, edits in addition.files.items():
        path = folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for before, new in edits:
            assert not before or text.count(before) == 1, f"{name}: where is {before!r}?"
            new = new.replace(*addition.mistake) if wrong else new
            text = text.replace(before, new + before) if before else new
        path.write_text(text, encoding="utf-8")


def touched(folder: Path) -> set[str]:
    """The files of a copy that are not those of the project."""
    paths = [path.relative_to(folder) for name in COPIED for path in (folder / name).rglob("*") if path.is_file()]
    return {str(p) for p in paths if not (ROOT / p).is_file() or (folder / p).read_bytes() != (ROOT / p).read_bytes()}


def run_concerned(folder: Path, backend: str) -> subprocess.CompletedProcess[str]:
    """The tests of the three tables, as far as they concern what is new."""
    names = " or ".join([*(each.name for each in ADDITIONS.values()), "is_compared"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", names]
    environment = os.environ | {"PATIENT_BACKEND": backend, "EXPERIMENTS_DIR": str(folder / "e")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("section", ADDITIONS)
def test_the_steps_touch_two_files(section: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    assert touched(folder) == set()
    follow(ADDITIONS[section], folder, wrong=False)
    assert touched(folder) == {name.replace("<name>", ADDITIONS[section].name) for name in steps(section)}
    assert len(touched(folder)) == 2


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True])
def test_a_right_addition_passes_and_a_wrong_one_fails(wrong: bool, backend: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for addition in ADDITIONS.values():
        follow(addition, folder, wrong)
    done = run_concerned(folder, backend)
    failed = {line.partition("::")[0].removeprefix("FAILED ") for line in done.stdout.splitlines() if "FAILED" in line}
    assert (done.returncode, failed) == ((1, set(TESTS)) if wrong else (0, set())), done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 3 * len(ADDITIONS) - (3 if wrong else 0)


def test_the_tests_folders_are_those_of_the_project() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = [folder for folder in folders if folder.parts and folder.parts[0] in COPIED]
    assert [str(folder) for folder in mirrored if not (ROOT / folder).is_dir()] == []

"""The page on reproducing the paper: its commands can be read, and its numbers are the recipes'."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from experiments import config
from experiments.distillation.checks import check_early, check_functions
from experiments.distillation.options import RunOptions
from experiments.recipes import RECIPES, paper

PAGE = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text(encoding="utf-8")
TWO_TEACHERS = next(line.strip() for line in PAGE.splitlines() if line.startswith("    RUN "))
COMMANDS = sorted({TWO_TEACHERS, *re.findall(r"`(RUN [^`]+)`", PAGE.partition("## On your own folders")[0])})
WORDS = sorted(set(re.findall(r"`([\w.]+=[^`]+)`", PAGE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_read(command: str) -> None:
    spec, _ = config.spec_and_options(config.read(shlex.split(command)[1:])[0])
    assert spec.batch_size == paper.DATA[shlex.split(command)[1].partition("_")[0]].batch_size


@pytest.mark.backend
def test_the_students_of_all_commands_build_at_full_size(backend: str) -> None:
    """Those of 224 and 160 pixels and all kinds of MobileNet, of which only the shapes are made."""
    specs = [config.spec_and_options(config.read(shlex.split(command)[1:])[0])[0] for command in COMMANDS]
    check_early(specs[0], RunOptions(backend=backend))
    from framework.models import cost

    sizes = {}
    for spec in specs:
        check_functions(spec)
        key = (spec.student.name, json.dumps(spec.student.options), spec.views.size)
        if key not in sizes:
            sizes[key] = cost.of(cost.outline(spec.student.name, spec.student.options, 1000, spec.views.size))
    assert {(name, size) for name, _, size in sizes} == {
        ("bit", 128),
        ("bit", 160),
        ("bit", 224),
        ("mobilenet_v3", 224),
    }
    assert {each.trainable for (name, *_), each in sizes.items() if name == "bit"} == {25_549_352}
    # Large with GroupNorm or BatchNorm, and small: 5.5 and 2.5 million, as published.
    mobile = sorted(each.trainable for (name, *_), each in sizes.items() if name == "mobilenet_v3")
    assert [round(count / 1e6, 1) for count in mobile] == [2.5, 5.5, 5.5]


@pytest.mark.parametrize("words", WORDS)
def test_words_that_are_added_can_be_read(words: str) -> None:
    recipe = "imagenet_labels" if words.startswith("views.mixup") else "imagenet"
    config.read([recipe, *shlex.split(words)])


def test_two_teachers_are_two() -> None:
    spec, _ = config.spec_and_options(config.read(shlex.split(TWO_TEACHERS)[1:])[0])
    assert spec.teacher_sizes == (384, 224)
    assert len({teacher.weights for teacher in spec.teachers}) == 2


@pytest.mark.parametrize("name", sorted({*paper.ROWS, *(f"{key}_labels" for key in paper.TRANSFER)} - {"imagenet"}))
def test_table_4_has_the_recipe_s_accuracy(name: str) -> None:
    known = paper.ROWS[name].accuracy if name in paper.ROWS else paper.LABELS[name.partition("_")[0]].accuracy
    (line,) = [line for line in PAGE.splitlines() if re.search(rf"`RUN {name}`", line) and "| not run |" in line]
    assert f"| {known:.2f} |" in line


def test_all_recipes_of_the_paper_are_on_the_page() -> None:
    assert [name for name in RECIPES if name in paper.ROWS and name not in PAGE] == []

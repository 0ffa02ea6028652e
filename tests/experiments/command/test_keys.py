"""Every key has a meaning, docs/options.md is what the docstrings say, and so is `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.command import keys
from experiments.config import defaults
from experiments.distillation.options import RunOptions
from framework.spec import DistillSpec, TeacherSpec
from framework.spec.schedules import SCHEDULES
from framework.spec.teachings import ALIASES, TEACHINGS
from framework.spec.validation import plain

ROOT = Path(__file__).parents[3]
KEYS = {key.name: key for part in keys.parts() for key in part.keys}


def settable() -> set[str]:
    """What a command line can set, from the values themselves."""
    spec, teacher = DistillSpec().to_dict(), plain(TeacherSpec())
    parts = {**{name: value for name, value in spec.items() if isinstance(value, dict)}, "teacher": teacher}
    inner = {f"{part}.{key}" for part, values in parts.items() for key in values}
    return {name for name in spec if name not in parts} | inner | set(plain(RunOptions()))


def test_every_key_is_there() -> None:
    assert set(KEYS) == settable()


@pytest.mark.parametrize("name", sorted(settable()))
def test_every_key_has_a_meaning(name: str) -> None:
    assert len(KEYS[name].meaning.split()) >= 3, f"write {name} into the Attributes of its class"
    assert KEYS[name].meaning.endswith(".")
    assert KEYS[name].kind


def test_a_key_without_a_meaning_is_seen() -> None:
    @dataclass
    class Options:
        """Options.

        Attributes:
            one, two: of a kind: with
                a second line.
            three: alone.

        Anything else: is no attribute.
        """

        one: int
        four: int = 0

    told = {"one": "of a kind: with a second line.", "two": "of a kind: with a second line.", "three": "alone."}
    assert keys.meanings(Options) == told


def test_the_page_is_up_to_date() -> None:
    text = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    assert text == keys.page(), "python -m experiments.command.keys > docs/options.md"


def test_all_names_are_told() -> None:
    for name, table in (("teaching", [*TEACHINGS, *ALIASES]), ("schedule.name", [*SCHEDULES])):
        assert [each for each in table if f"`{each}`" not in KEYS[name].meaning] == []


def test_defaults_are_the_config_s() -> None:
    lines = keys.listing(defaults("digits"), 100).splitlines()
    assert any(line.startswith("  optimizer.lr=0.01 ") for line in lines)
    assert '  teachers=["digits"]' in [line[:23].rstrip() for line in lines]
    assert "  teacher.name=glyphs" in keys.listing(defaults("digits_labels"), 100)


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_listing_is_as_wide_as_the_terminal(columns: int) -> None:
    lines = keys.listing(defaults(None), columns).splitlines()
    assert columns - 15 < max(map(len, lines)) <= columns
    # A name that is too long for its column has a line of its own.
    meanings = [line for line in lines if line.startswith("  ") and len(line) > 32 and " " in line.strip()]
    assert {line[31] for line in meanings} == {" "}


def test_the_listing_of_some_keys() -> None:
    found = keys.listing(defaults(), 100, ["optimizer", "with", "temperature"])
    names = [line.strip().partition("=")[0] for line in found.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names == ["loss.temperature", *(name for name in KEYS if name.startswith("optimizer."))]

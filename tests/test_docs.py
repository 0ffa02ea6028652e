"""The pages name what is there: every file, folder and function that the map speaks of, and every link."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_map_names_files_and_functions_that_are_there() -> None:
    steps = re.findall(r"^\d\. `([\w/]+\.py)`, (.*?):", MAP, flags=re.M)
    assert len(steps) == 5
    for name, functions in steps:
        source = (ROOT / name).read_text(encoding="utf-8")
        for function in re.findall(r"`(?:\w+\.)?(\w+)`", functions):
            assert f"def {function}(" in source, (name, function)


def test_the_map_has_every_folder() -> None:
    named = {name.rstrip("/") for name in re.findall(r"`([\w/]+/)`", MAP)}
    tops = ("framework", "backends", "experiments", "benchmarks", "tests")
    below = [folder for top in ("framework", "experiments") for folder in (ROOT / top).iterdir()]
    rooms = {str(folder.relative_to(ROOT)) for folder in below if any(folder.glob("*.py"))}
    short = {f"experiments/{name}" for name in named if (ROOT / "experiments" / name).is_dir()}
    assert {*tops, *rooms} <= named | short


def test_the_root_of_framework_stays_small() -> None:
    assert len(list((ROOT / "framework").glob("*.py"))) <= 10


def test_at_the_root_of_experiments_are_commands_and_config() -> None:
    names = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert names - {"__init__", "__main__", "config"} <= set(COMMANDS)

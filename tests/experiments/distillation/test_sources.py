"""A user's own functions: what is in their files is part of what determines the result, and is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.distillation import sources
from framework.spec import DistillSpec


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with functions of one's own."""
    package = tmp_path / "own_sources"
    package.mkdir()
    (package / "__init__.py").write_text("from own_sources.losses import loss\n")
    (package / "losses.py").write_text("def loss(student, teacher, temperature):\n    return student\n")
    (package / "views.py").write_text("def darker(views, uniforms):\n    return views\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_sources"]:
        monkeypatch.delitem(sys.modules, name)
    return package


def spec(**changes: Any) -> DistillSpec:
    own = {"loss": {"distance": "own_sources:loss"}, "views": {"augmentations": ["own_sources.views:darker"]}}
    return DistillSpec.from_dict(own | changes)


def test_a_changed_file_is_another_spec(written: Path) -> None:
    """Also where the function is written in another file than the module that has its name."""
    first = sources.identified(spec())
    assert [line.split()[0] for line in first.sources] == ["own_sources.views:darker", "own_sources:loss"]
    assert first == sources.identified(spec())
    assert first.fingerprint != spec().fingerprint
    for name in ("losses.py", "views.py"):
        path = written / name
        path.write_text(path.read_text() + "# changed\n")
        changed = sources.identified(spec())
        assert len({first.fingerprint, changed.fingerprint}) == 2
        assert len({first.fingerprint_no_seed, changed.fingerprint_no_seed}) == 2
        first = changed


def test_a_spec_without_such_functions_is_what_it_was() -> None:
    plain = DistillSpec()
    assert sources.identified(plain) == plain
    for name in ("keras.applications:MobileNetV2", "framework.losses:kl", "own.keras", "a:b c", "numpy:sum"):
        assert sources.own(DistillSpec.from_dict({"student": {"name": name}})) == {}, name


def test_what_a_run_is_made_of(written: Path, tmp_path: Path) -> None:
    (written / "losses.py").write_text("from own_sources import helper\n" + (written / "losses.py").read_text())
    (written / "helper.py").write_text("")
    (tmp_path / "site-packages").mkdir()
    found = sources.captured(spec())
    own = {name: path for name, path in found.items() if path.is_relative_to(tmp_path)}
    names = ("__init__", "helper", "losses", "views")
    assert own == {f"own_sources/{name}.py": written / f"{name}.py" for name in names}
    assert {"framework/losses.py", "backends/trainer.py", "experiments/run.py"} <= found.keys()
    assert set(sources.captured(DistillSpec())) == found.keys() - own.keys()


def test_files_are_kept_with_the_run(written: Path, tmp_path: Path) -> None:
    kept = sources.keep(spec(), tmp_path / "run" / "sources")
    assert sorted(path.name for path in kept) == ["own_sources.py", "own_sources.views.py"]
    for path, name in zip(sorted(kept), ("losses.py", "views.py"), strict=True):
        assert path.read_text() == (written / name).read_text()
    assert sources.keep(DistillSpec(), tmp_path / "other") == []
    assert not (tmp_path / "other").exists()


def test_what_wraps_a_function_is_looked_through(written: Path) -> None:
    (written / "bound.py").write_text(
        "from functools import partial\nfrom own_sources.losses import loss\nhalf = partial(loss, temperature=2)\n"
    )
    found = sources.own(spec(loss={"distance": "own_sources.bound:half"}))
    assert found["own_sources.bound:half"].name == "losses.py"

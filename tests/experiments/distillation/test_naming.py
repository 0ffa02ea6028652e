"""Teachers by name: what is found, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.distillation import naming
from framework.errors import UserError
from framework.files import stored
from tests.experiments.distillation.small import CARD

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "SHIPPED", tmp_path / "stored")
    monkeypatch.chdir(tmp_path)


def found(name: str) -> Path | None:
    return naming.find(name, Path("e"))


def test_a_name_a_folder_and_a_run_are_found(tmp_path: Path) -> None:
    for folder in ("stored/mine", "own", "run/student"):
        stored.save(tmp_path / folder, CARD, {})
    assert found("mine") == tmp_path / "stored/mine"
    assert found("own") == Path("own")
    assert found(str(tmp_path / "own")) == tmp_path / "own"
    assert found("run") == Path("run/student")
    assert naming.stored_names() == ["digits", "efficientnet_lite0", "mine"]


def test_what_is_built_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "to_be_built.py").write_text("def build(num_classes, image_size):\n    return None\n")
    (tmp_path / "x.keras").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("convnet", "to_be_built:build", "x.keras"):
        assert found(name) is None
    with pytest.raises(UserError, match="to_be_built has no function 'biuld'"):
        found("to_be_built:biuld")
    with pytest.raises(UserError, match=rf"there is no such file \(looked for {tmp_path}/y\.keras\)"):
        found("y.keras")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    known = "bit, convnet, digits, efficientnet_lite, efficientnet_lite0, mobilenet_v3"
    with pytest.raises(UserError, match=rf"'digts': did you mean 'digits'\? allowed: {known}; or a run's"):
        found("digts")
    with pytest.raises(UserError, match=r"'empty': there is no model\.json in that folder"):
        found("empty")

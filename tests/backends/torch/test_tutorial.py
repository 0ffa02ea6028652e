"""docs/tutorial.md as a new user follows it: its files are written, and its commands run, in its order."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (python -m experiments\..*)$", PAGE, flags=re.M)
TEACHER, LOADING = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
# What shortens the training; everything else is as it stands there.
STEPS = re.compile(r"duration\.total_steps=\d+")


def photographs(folder: Path) -> None:
    """Cats are blue and dogs are red, in photographs of unequal sizes."""
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 30)):
        for place, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (40 + number, 50, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * place] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{number}.jpg")


def train_teacher(folder: Path) -> None:
    """The page's network, trained by whoever brings it: on images in its own range."""
    torch.manual_seed(0)
    torch.save(None, "my_teacher.pt")
    code = TEACHER.replace("    network.load_state_dict", "    # network.load_state_dict")
    space: dict = {}
    exec(code, space)
    network = space["build"](2, 64)
    paths = sorted((folder / "train").rglob("*.jpg"))
    images = np.stack([np.asarray(Image.open(path).resize((64, 64))) for path in paths])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    views = torch.tensor(((images / 255 - mean) / deviation).transpose(0, 3, 1, 2), dtype=torch.float32)
    labels = torch.tensor([int(path.parent.name == "dog") for path in paths])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(views), labels).backward()
        optimizer.step()
    torch.save(network.state_dict(), "my_teacher.pt")


def run(line: str) -> int:
    """Run a command in this process."""
    _, _, module, *words = shlex.split(STEPS.sub("duration.total_steps=20", line))
    words += ["schedule.warmup_steps=2", "evaluation.num_times=0"] if module == "experiments.run" else []
    found = importlib.import_module(module)
    return int(found.PROGRAM.main(words) if hasattr(found, "PROGRAM") else found.main(words))


def test_the_page_names_extras_that_are_there() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [name for extras in re.findall(r'-e "\.\[([\w,]+)\]"', PAGE) for name in extras.split(",")]
    assert named == ["torch", "onnx", "onnx"]
    assert set(named) <= set(known)


def test_its_commands_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / ".experiments"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    photographs(tmp_path / "photos")
    (tmp_path / "new_photos").mkdir()
    Image.fromarray(np.full((70, 90, 3), (20, 20, 200), np.uint8)).save("new_photos/blue.png")
    (tmp_path / "my_teacher.py").write_text(TEACHER)
    train_teacher(tmp_path / "photos")
    assert len(COMMANDS) == 7
    said = []
    for line in COMMANDS:
        code = run(line)
        out, err = capsys.readouterr()
        said.append(out)
        assert code == 0, (line, err)
    assert re.search(r"onnxruntime alone: on 60 images \(test of ./photos", said[1]), said[1]
    assert re.search(r"new_photos/blue.png: (cat|dog) \d+\.\d%, (cat|dog)", said[2]), said[2]
    assert "| teacher: cat" in said[3]
    names = {path.name for path in Path("exported").iterdir()}
    assert names == {"README.md", "student.onnx", "student.keras", "student.pt2", "student.pt"}
    space = {"images": np.zeros((2, 30, 40, 3), np.uint8), "onnxruntime": onnxruntime}
    exec(LOADING, space)
    assert space["logits"].shape == (2, 2)  # type: ignore[attr-defined]

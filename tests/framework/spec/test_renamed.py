"""Old words of a spec mean what they meant, and one line says what they are now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.spec import DistillSpec
from framework.spec.renamed import current

ROOT = Path(__file__).parents[3]


def test_the_old_word_is_the_new_one() -> None:
    old, new = {"label_smoothing": 0.1}, {"options": {"label_smoothing": 0.1}}
    specs = [DistillSpec.from_dict({"loss": {"distance": "hard"} | each}) for each in (old, new)]
    assert specs[0] == specs[1]
    assert "label_smoothing" not in specs[0].to_dict()["loss"]


def test_other_options_stay() -> None:
    found = current({"loss": {"distance": "own:loss", "options": {"scale": 2}, "label_smoothing": 0.1}, "seed": 1})
    assert found == {"loss": {"distance": "own:loss", "options": {"scale": 2, "label_smoothing": 0.1}}, "seed": 1}


def test_a_zero_of_a_stored_spec_says_nothing_unless_it_takes_a_value_s_place() -> None:
    assert current({"loss": {"label_smoothing": 0.0}}) == {"loss": {}}
    assert current({"loss": {"label_smoothing": 0}}, {"label_smoothing": 0.1}) == {
        "loss": {"options": {"label_smoothing": 0}}
    }


def test_both_words_are_a_mistake() -> None:
    with pytest.raises(UserError, match=r"loss.label_smoothing is the old word for loss.options.label_smoothing"):
        DistillSpec.from_dict({"loss": {"label_smoothing": 0.1, "options": {"label_smoothing": 0.1}}})


@pytest.mark.parametrize(("share", "lines"), [(0.1, 1), (0.0, 0)])
def test_it_is_said_once_in_one_line(share: float, lines: int) -> None:
    old = {"loss": {"distance": "hard", "label_smoothing": share}}
    code = f"from framework.spec import DistillSpec\nfor _ in range(3): DistillSpec.from_dict({old!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    told = "loss.label_smoothing is now loss.options.label_smoothing; the old word still works"
    assert done.stderr.splitlines() == [told] * lines

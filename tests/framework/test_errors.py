"""The near match of a wrong word."""

from __future__ import annotations

import pytest

from framework.errors import UserError, near


def test_a_user_error_is_a_value_error() -> None:
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize(
    ("received", "match"),
    [("lrr", "lr"), ("weigth_decay", "weight_decay"), ("LR", "lr"), ("wd", "weight_decay"), ("xy", None)],
)
def test_near_names_the_nearest(received: str, match: str | None) -> None:
    text = near(received, ["weight_decay", "lr", "b1"])
    assert text.startswith(f"did you mean {match!r}? " if match else "allowed: ")
    assert text.endswith("allowed: b1, lr, weight_decay")

"""Functions by name or import path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework.errors import UserError
from framework.spec.named import check_options, find

TABLE = {"euclidean": max, "kl": min}


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_functions.py").write_text("def double(x):\n    return 2 * x\n\nNUMBER = 3\n")
    (tmp_path / "own_needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_plain_name_is_in_the_table() -> None:
    assert find("kl", TABLE, "loss.distance") is min


def test_an_import_path_gives_the_users_own() -> None:
    assert find("own_functions:double", TABLE, "loss.distance")(4) == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("euclidian", r"loss.distance = 'euclidian': did you mean 'euclidean'\? allowed: euclidean, kl; or your own"),
        ("own_functions:doubel", "own_functions has no function 'doubel'; did you mean 'double'"),
        ("own_functions:NUMBER", "own_functions has no function 'NUMBER'"),
        ("own_functions:", "own_functions has no function ''"),
        ("own_fucntions:double", "there is no module 'own_fucntions' in "),
        ("own_functions.deeper:double", "there is no module 'own_functions.deeper' in "),
        ("own_needs_more:f", "own_needs_more needs 'no_such_library', which is not installed"),
        (":double", "expected package.module:function"),
        (".own_functions:double", "expected package.module:function"),
    ],
)
def test_mistakes(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(name, TABLE, "loss.distance")


def needy(first: int, rank: int, *rest: int, scale: int = 1) -> int:
    return first + rank + sum(rest) + scale


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (needy, ["rank", "scal"], r"f has no option 'scal': did you mean 'scale'\? allowed: rank, scale"),
        (needy, ["rank", "first"], "f has no option 'first'"),
        (needy, ["rank", "rest"], "f has no option 'rest'"),
        (needy, ["scale"], "f needs the option 'rank'"),
        (lambda first: first, ["scale"], "f has no option 'scale': it takes none"),
    ],
)
def test_mistaken_options(function: Any, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_options(function, options, ["first"], "f")


def test_any_option_is_taken_by_name_where_the_function_takes_any() -> None:
    check_options(lambda first, **rest: first, ["scale"], ["first"], "f")

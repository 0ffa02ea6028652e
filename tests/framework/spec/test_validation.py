"""Plain values to dataclasses: what is taken, what is refused, and the path that the message names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import UserError
from framework.spec.validation import Range, arguments, build, check, convert, plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    word: str
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    choice: Literal["a", "b"] = "a"
    options: dict[str, Any] = field(default_factory=dict)
    open: Mapping[str, Any] = field(default_factory=dict)
    flag: bool = False
    either: int | str = 0


FULL = {
    "inner": {"word": "x", "share": 1},
    "many": [{"word": "y"}],
    "pair": [3, 4],
    "choice": "b",
    "options": {"deep": {"list": [1, (2, 3)]}},
    "open": {"any": None},
    "flag": True,
    "either": "word",
}


def test_everything_is_converted() -> None:
    made = build(Outer, FULL)
    assert made.inner == Inner(word="x", share=1.0)
    assert type(made.inner.share) is float
    assert made.many == (Inner(word="y"),)
    assert made.pair == (3, 4.0)
    assert made.options == {"deep": {"list": [1, [2, 3]]}}
    assert build(Outer, plain(made)) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": 3}, r"inner = 3: expected keys and values, such as inner.word=... inner.share=..."),
        ({"inner": {}}, "inner.word is missing"),
        ({"inner": {"wrod": "x"}}, r"unknown key 'inner.wrod': did you mean 'word'\?"),
        ({"many": {"word": "x"}}, "many = .*: expected a list"),
        ({"many": "x"}, "many = 'x': expected a list"),
        ({"many": [{"word": "x"}, {"word": 1}]}, r"many\[1\].word = 1: expected a word, received int"),
        ({"many": [{"word": "x", "shar": 1}]}, r"unknown key 'many\[0\].shar': did you mean 'share'\?"),
        ({"pair": [1]}, "pair = .*: expected 2 values, received 1"),
        ({"pair": [1.5, 1]}, r"pair\[0\] = 1.5: expected an integer, received float"),
        ({"choice": "c"}, "choice = 'c': allowed: a, b"),
        ({"options": [1]}, r"options = \[1\]: expected keys and values"),
        ({"options": {"a": [0, float("nan")]}}, r"options.a\[1\] = nan: must be a finite number"),
        ({"options": {"a": {"b": object()}}}, "options.a.b = <object.*>: expected numbers, words, lists or keys"),
        ({"flag": 1}, "flag = 1: expected True or False, received int"),
        ({"either": [1]}, r"either = \[1\]: expected an integer or a word"),
        ({"either": True}, "either = True: expected an integer or a word"),
        ({"inner": {"word": "x", "share": True}}, "inner.share = True: expected a number, received bool"),
        ({"inner": {"word": "x", "share": float("nan")}}, "inner.share = nan: must be a finite number"),
        ({"inner": {"word": "x", "share": 10**400}}, "inner.share = 1000+: must be a finite number"),
        ({"inner": {"word": None}}, "inner.word = None: expected a word, received NoneType"),
        ({7: 1}, "unknown key '7'"),
    ],
)
def test_mistakes_name_the_path(change: dict[Any, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(Outer, FULL | change)


@given(st.integers(-(2**70), 2**70))
def test_a_whole_float_is_an_integer_and_an_integer_a_float(value: int) -> None:
    assert convert(int, float(value), "x") == int(float(value))
    assert convert(float, value, "x") == float(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("train", ("train",)),
        ("[train,test]", ("train", "test")),
        ("[a.b:c, ../d]", ("a.b:c", "../d")),
        ("head/[ab]", ("head/[ab]",)),
        ("a,b", ("a,b",)),
    ],
)
def test_words_as_a_shell_leaves_them(value: str, words: tuple[str, ...]) -> None:
    assert convert(tuple[str, ...], value, "x") == words


def test_plain_is_json() -> None:
    assert json.loads(json.dumps(plain(build(Outer, FULL))))["many"] == [{"word": "y", "share": None}]


def test_check_says_what_is_allowed() -> None:
    check(True, "a.b", 3, "more than 2")
    with pytest.raises(UserError, match=r"^a\.b = 1: must be more than 2$"):
        check(False, "a.b", 1, "more than 2")


Share = Annotated[float, Range(lambda share: 0 <= share <= 1, "a share from 0 to 1")]


def function(one: Any, share: Share, kind: Literal["a", "b"] = "a", sizes: tuple[int, ...] | None = None) -> Any:
    return one, share, kind, sizes


def test_arguments_have_the_annotated_types() -> None:
    found = arguments(function, {"share": 1, "sizes": [1, 2.0], "one": [1]}, "f")
    assert found == {"share": 1.0, "sizes": (1, 2), "one": [1]}
    assert type(found["share"]) is float


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 2}, "f.share = 2.0: must be a share from 0 to 1"),
        ({"share": "x"}, "f.share = 'x': expected a number"),
        ({"kind": "c"}, "f.kind = 'c': allowed: a, b"),
        ({"sizes": ["x"]}, r"f.sizes\[0\] = 'x': expected an integer"),
    ],
)
def test_arguments_of_another_kind_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        arguments(function, options, "f")


def test_annotations_for_readers_alone_are_passed_by() -> None:
    def own(size: Nowhere, share: Mapping[str, int]) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Nothing."""

    assert arguments(own, {"size": 3, "share": 4}, "f") == {"size": 3, "share": 4}

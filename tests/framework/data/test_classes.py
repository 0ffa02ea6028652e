"""Class names of the paper's data sets, and the way from a model's order to the data's."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from framework.data.catalog import CATALOG
from framework.data.classes import ORDERS, order, permutation, plain_name, unknown
from framework.errors import UserError


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_has_the_catalogues_classes_each_under_names_of_its_own(name: str) -> None:
    (entry,) = [entry for entry in CATALOG.values() if entry.order == name]
    classes = order(name)
    assert len(classes) == entry.num_classes
    compared = [{plain_name(each) for each in names} for names in classes]
    assert len(set.union(*compared)) == sum(map(len, compared))


@pytest.mark.parametrize("name", ORDERS)
def test_shuffled_names_in_any_spelling_are_found_again(name: str) -> None:
    classes = order(name)
    places = random.Random(name).sample(range(len(classes)), len(classes))
    ours = [classes[place][-1].upper().replace("_", " ") for place in places]
    assert permutation(classes, ours, "the teacher", name).tolist() == places
    assert unknown(ours, name) == ()


def test_wordnet_ids_and_words_are_one_class() -> None:
    classes = order("imagenet")
    assert [names[0] for names in classes] == sorted(names[0] for names in classes)
    words = permutation(classes, [names[1] for names in classes], "t", "d")
    np.testing.assert_array_equal(words, np.arange(1000))


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("cat\tfelis\ndog\n\n")
    assert order(str(tmp_path / "mine.txt")) == (("cat", "felis"), ("dog",))
    with pytest.raises(UserError, match=r"classes 'pets': no such file \(looked for .*did you mean 'pet'\?"):
        order("pets")


@pytest.mark.parametrize(
    ("theirs", "ours", "places"),
    [
        (("A", "a"), ("a", "A"), [1, 0]),
        (("+", "-", "="), ("-", "=", "+"), [1, 2, 0]),
        (("A", "a", "Big_Cat"), ("a", "big cat", "A"), [1, 2, 0]),
    ],
)
def test_equal_names_go_before_alike_ones(theirs: tuple[str, ...], ours: tuple[str, ...], places: list[int]) -> None:
    assert permutation([(name,) for name in theirs], ours, "the teacher", "d").tolist() == places


def test_a_name_that_is_like_two_is_neither() -> None:
    with pytest.raises(UserError, match="knows no class 'Ä' of data"):
        permutation([("+",), ("-",)], ("+", "Ä"), "the teacher", "d")
    with pytest.raises(UserError, match=r"knows no class '\*' of data"):
        permutation([("+",), ("-",)], ("+", "*"), "the teacher", "d")


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (["cat"], "the teacher knows 2 classes, but data 'd' have 1"),
        (["cat", "dogs"], r"knows no class 'dogs' of data 'd' \(did you mean 'dog'\?\): teacher.classes=data"),
        (["0", "1"], "knows no class '0', '1' of data 'd'"),
        (["dog", "Dog"], "two classes of data 'd' match one class of"),
    ],
)
def test_other_classes_are_refused(ours: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        permutation([("cat",), ("dog",)], ours, "the teacher", "d")

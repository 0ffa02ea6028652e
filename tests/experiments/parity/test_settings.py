"""Which spec is compared, and what is said of a recipe's teachers."""

from __future__ import annotations

from experiments.parity.settings import replaced_teachers, spec_of


def test_a_recipe_s_teachers_are_replaced_and_that_is_said() -> None:
    spec = spec_of(["digits"])
    assert [each.name for each in spec.teachers] == ["convnet"]
    told = replaced_teachers(["with", "digits"], spec)
    assert told == "parity takes convnet with random weights instead of the recipe's teacher digits"
    assert replaced_teachers(["with", "optimizer.lr=0.1"], spec_of(["optimizer.lr=0.1"])) == ""
    labels = ["digits_labels", "teaching=labels", "teachers=[]"]
    assert replaced_teachers(["with", *labels], spec_of(labels)) == ""

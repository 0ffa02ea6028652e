"""From words to a config: short forms, the names near a mistake, and no words that end in anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import config
from experiments.distillation.options import RunOptions
from experiments.recipes import RECIPES
from framework.errors import UserError
from framework.spec import DataSpec, DistillSpec, ModelSpec, TeacherSpec
from framework.spec.validation import plain


def read(*words: str) -> dict[str, Any]:
    return config.read(words)[0]


def test_the_paper_s_teachings_are_words_of_the_command_line() -> None:
    for name in ("fix/rs", "fix/cc", "fix/ic_ens", "ind/rc", "ind/ic", "same/rc", "same/ic", "same/ic,mix"):
        assert read("digits", f"teaching={name}")["teaching"] == name


def test_no_words_are_the_default_recipe() -> None:
    assert read() == config.defaults("glyphs")
    assert config.read([])[1:] == ([], {})


def test_named_recipes_and_changes_are_told_apart() -> None:
    found, recipes, changes = config.read(["digits", "seed=3", "optimizer.lr=0.1"])
    assert (recipes, changes) == (["digits"], {"seed": 3, "optimizer": {"lr": 0.1}})
    assert found == config.apply(config.defaults("digits"), changes)
    assert found["optimizer"] == config.defaults("digits")["optimizer"] | {"lr": 0.1}


def test_changes_count_wherever_they_stand() -> None:
    assert read("batch_size=7", "digits") == read("digits", "batch_size=7")


@pytest.mark.parametrize("key", ["data", "student", "optimizer", "schedule"])
def test_a_word_alone_is_the_name(key: str) -> None:
    assert read(f"{key}=abc")[key]["name"] == "abc"
    assert read(f"{key}=abc") == read(f"{key}.name=abc")


def test_a_name_and_its_keys_in_any_order() -> None:
    found = read("data=./x", "data.test=held_out")["data"]
    assert (found["name"], found["test"]) == ("./x", "held_out")
    assert read("data.test=held_out", "data=./x")["data"] == found


def test_the_teacher_is_the_only_one() -> None:
    (found,) = read("digits", "teacher.min_accuracy=0.5")["teachers"]
    assert found == plain(TeacherSpec(name="digits", min_accuracy=0.5))
    assert read("digits", "teacher=digits") == read("digits")


def test_another_teacher_has_nothing_of_the_former() -> None:
    before = ["teachers=[{'name':'bit','options':{'depths':[1]},'weights':'a.npz'}]"]
    (found,) = read(*before, "teacher=convnet", "teacher.weights=b.npz")["teachers"]
    assert found == plain(TeacherSpec(name="convnet", weights="b.npz"))
    (kept,) = read(*before, "teacher.weights=b.npz")["teachers"]
    assert kept["options"] == {"depths": [1]}


def test_several_teachers_are_written_whole() -> None:
    found = read("teachers=['digits',{'name':'glyphs'}]")["teachers"]
    assert [each["name"] for each in found] == ["digits", "glyphs"]
    with pytest.raises(UserError, match=r"needs exactly one teacher, there are 2: set teachers=\[\.\.\.\]"):
        read("teachers=['digits','glyphs']", "teacher.min_accuracy=0.5")


def test_a_teacher_where_there_was_none() -> None:
    found = read("digits_labels", "teaching=funmatch", "teacher=digits")
    assert [each["name"] for each in found["teachers"]] == ["digits"]


def test_a_duration_takes_the_place_of_any_other() -> None:
    steps = {"total_epochs": None, "total_steps": 5, "total_examples": None}
    assert read("digits", "duration.total_steps=5")["duration"] == steps
    with pytest.raises(UserError, match="duration"):
        read("duration.total_steps=5", "duration.total_epochs=5")


def test_labels_have_no_teacher() -> None:
    found = read("digits", "teaching=labels")
    assert (found["teachers"], found["loss"]["task_weight"]) == ([], 1.0)
    assert read("digits", "teaching=labels", "loss.task_weight=0.5")["loss"]["task_weight"] == 0.5
    with pytest.raises(UserError, match="teaching=labels takes no teacher: drop teacher="):
        read("digits", "teaching=labels", "teacher=digits")


def test_another_distance_drops_the_former_s_options() -> None:
    before = config.apply(config.defaults(), {"loss": {"distance": "hard", "options": {"label_smoothing": 0.1}}})
    assert config.apply(before, {"loss": {"temperature": 2.0}})["loss"]["options"] == {"label_smoothing": 0.1}
    assert config.apply(before, {"loss": {"distance": "kl"}})["loss"]["options"] == {}


def test_the_former_word_for_label_smoothing() -> None:
    found = read("loss.distance=hard", "loss.label_smoothing=0.1")
    assert found == read("loss.distance=hard", "loss.options.label_smoothing=0.1")
    assert config.apply(found, {"loss": {"label_smoothing": 0}})["loss"]["options"] == {"label_smoothing": 0}
    assert read("loss.label_smoothing=0") == read()
    with pytest.raises(UserError, match="label_smoothing is the old word for "):
        read("loss.label_smoothing=0.1", "loss.options.label_smoothing=0.1")


def test_other_data_drop_the_splits_of_the_former() -> None:
    assert read("glyphs_teacher")["data"]["train"] == "upstream"
    assert read("glyphs_teacher", "data=./photos")["data"] == plain(DataSpec(name="./photos"))
    assert read("glyphs_teacher", "data.train=train", "data=./photos")["data"]["train"] == "train"
    assert read("glyphs_teacher", "data=glyphs")["data"]["train"] == "upstream"
    assert read("data=./photos", "glyphs_teacher")["data"] == plain(DataSpec(name="./photos"))


def test_another_student_drops_the_options_of_the_former() -> None:
    assert read("digits", "student=bit")["student"] == plain(ModelSpec(name="bit"))
    assert read("digits", "student=bit", "student.options.depths=[1]")["student"]["options"] == {"depths": [1]}
    assert read("digits", "student=convnet")["student"] == config.defaults("digits")["student"]


@pytest.mark.parametrize("text", ["{[]:1}", "(" * 5000, "[1,2", "[a b,c]", "{a:1}"])
def test_brackets_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^'data\.image=.{1,80}' can't be read: a list is written \[8,16\]"):
        read(f"data.image={text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("None", None),
        ("true", True),
        ("False", False),
        ("3", 3),
        ("1e-3", 1e-3),
        ("[1,2]", [1, 2]),
        ("(1,2)", [1, 2]),
        ("'3'", "3"),
        ("a=b", "a=b"),
        ("./x/y z", "./x/y z"),
        ("1if", "1if"),
        ("[a,b 1]/x", "[a,b 1]/x"),
        ("[train, test]", ["train", "test"]),
    ],
)
def test_values(text: str, value: Any, recwarn: pytest.WarningsRecorder) -> None:
    assert config._pair(f"a.b={text}") == ("a.b", value)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lrr=1"], "unknown key 'optimizer.lrr': did you mean 'lr'"),
        (["optimiser.lr=1"], "unknown key 'optimiser.lr': did you mean 'optimizer.lr'"),
        (["student.options.widths.x=1", "student.options.widths=3", "seed=x"], "seed = 'x': expected an integer"),
        (["teacher.nme=x"], r"unknown key 'teacher.nme'"),
        (["digit"], "no recipe 'digit': did you mean 'digits'"),
        (["seed"], "'seed' has no value: write seed=VALUE"),
        (["qwertz"], "values are written key=value"),
        (["batch_size=abc"], "batch_size = 'abc': expected an integer"),
        (["optimizer=3"], "optimizer = 3: expected keys and values"),
        (["seed=1", "seed.x=2"], "'seed.x' and seed=1 contradict each other"),
        (["teachers=3", "teacher=x"], "teachers = 3: expected a list"),
        (["teachers=[3]", "teacher=x"], "expected a list of names"),
        (["teacher=3"], "teacher = 3: expected a name"),
        (["loss=3", "teaching=labels"], "loss = 3: expected keys and values"),
        (["=3"], "unknown key ''"),
        (["checkpoint_minutes=0"], "checkpoint_minutes = 0"),
        (["keep_checkpoints=0"], "keep_checkpoints = 0"),
        (["threads=-1"], "threads = -1"),
        (["log_every=0"], "log_every = 0"),
        (["seed={1,2}"], "seed = {1, 2}: expected an integer"),
    ],
)
def test_mistakes(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config.read(words)


def test_split_gives_both_halves() -> None:
    spec, options = config.spec_and_options(read("digits", "backend=torch", "seed=4"))
    assert spec == DistillSpec.from_dict(spec.to_dict())
    assert (spec.seed, options) == (4, RunOptions(backend="torch"))


def test_what_was_given_stays_as_it_was() -> None:
    before = json.dumps(RECIPES)
    read("digits", "student.options.widths=[1]", "teacher.min_accuracy=0.1", "views.area=[0.1,0.2]")
    assert json.dumps(RECIPES) == before


KEYS = [
    *config.defaults(),
    *(f"{key}.{inner}" for key, value in config.defaults().items() if isinstance(value, dict) for inner in value),
    *(
        "teacher",
        "teacher.name",
        "teacher.options.a",
        "teacher.weights",
        "student.options.widths",
        "data.name.x",
        "a.b",
    ),
]
VALUES = ["1", "-1", "0.5", "null", "true", "labels", "fixed", "[]", "[1]", "['a','b']", "{}", "{'a':1}", "{1}", "b'a'"]
PAIRS = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES) | st.text(max_size=8)).map("=".join)
WORDS = st.sampled_from(sorted(RECIPES)) | PAIRS | st.text(max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=5))
def test_any_words_are_a_config_or_a_mistake(words: list[str]) -> None:
    try:
        found, _, changes = config.read(words)
    except UserError:
        return
    assert set(found) == set(config.defaults())
    json.dumps([found, changes], allow_nan=False)
    spec, options = config.spec_and_options(found)
    assert config.spec_and_options(spec.to_dict() | plain(options)) == (spec, options)


def test_a_teacher_from_a_package_sees_its_own_size_unless_one_is_written() -> None:
    words = ["data=./photos", "data.labels=null", "teacher=efficientnet_lite0"]
    assert read(*words)["views"]["teacher_size"] == 224
    assert read(*words)["views"]["size"] == 24
    assert read(*words, "views.size=64")["views"]["teacher_size"] is None
    assert read(*words, "views.teacher_size=96")["views"]["teacher_size"] == 96
    assert read("teachers=['glyphs','efficientnet_lite0']")["views"]["teacher_size"] == [24, 224]
    assert read("teacher=glyphs")["views"]["teacher_size"] is None
    # A run that is resumed has said it already.
    before = read(*words, "views.size=64")
    assert config.read([], stored=before)[0]["views"]["teacher_size"] is None

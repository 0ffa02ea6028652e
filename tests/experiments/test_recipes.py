"""Every recipe is a valid spec whose names exist, whose models build, and which takes a step."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import config
from experiments.distillation import naming
from experiments.distillation.checks import check_early
from experiments.distillation.options import RunOptions
from experiments.recipes import DEFAULT, DEFAULT_TEACHER, NOTES, RECIPES, paper
from framework import data as data_layer
from framework.data.classes import order
from framework.data.counts import count
from framework.data.source import Splits
from framework.spec import DataSpec, DistillSpec, DurationSpec

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "schedule.npz")
# By depth and classes, of the authors' models.
KNOWN_PARAMETERS = {
    ("50", 37): 23_576_165,
    ("50", 102): 23_709_350,
    ("50", 101): 23_707_301,
    ("50", 397): 24_313_805,
    ("50", 1000): 25_549_352,
    ("152", 37): 232_389_797,
    ("152", 101): 232_652_005,
    ("152", 102): 232_656_102,
    ("152", 397): 233_864_717,
    ("152", 1000): 236_335_208,
}
SMALL = {"depth": [1], "width": 0.5}


def num_steps(spec: DistillSpec) -> int:
    return spec.duration.steps(count(spec.data, Path()).train, spec.batch_size)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_is_a_spec(name: str) -> None:
    spec = config.recipe_spec(name)
    assert config.read([name])[0] == config.defaults(name)
    assert "." not in name  # which would mean an ingredient to Sacred
    assert (spec.teaching == "labels") == name.endswith(("_labels", "_teacher", "_transfer"))
    assert spec.schedule.warmup_steps < num_steps(spec)
    assert NOTES[name]


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_all_names_of_a_recipe_exist(name: str, backend: str) -> None:
    check_early(config.recipe_spec(name), RunOptions(backend=backend))


@functools.cache
def outlined(name: str, options: str, num_classes: int, size: int) -> Any:
    from framework.models import cost

    return cost.of(cost.outline(name, json.loads(options), num_classes, size))


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_models_of_a_recipe_build_at_full_size(name: str) -> None:
    spec = config.recipe_spec(name)
    num_classes = count(spec.data, Path()).num_classes
    assert num_classes is not None
    built = [model for model in (spec.student, *spec.teachers) if model.name not in naming.stored_names()]
    for model in built:
        found = outlined(model.name, json.dumps(model.options), num_classes, spec.views.size)
        if model.name == "bit":
            assert found.parameters == KNOWN_PARAMETERS[str(model.options["depth"]), num_classes]
        assert found.macs > 0


def classes_of(key: str) -> Sequence[tuple[str, ...]]:
    return order(key)[:5]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Splits]:
    """The first classes of a data set of the paper, one small image each, in folders under the data's own names.

    Not all of them: an engine that compiles each shape would take minutes.
    """

    @functools.cache
    def made(key: str) -> Splits:
        folder = tmp_path_factory.mktemp(key)
        for number, names in enumerate(classes_of(key)):
            place = folder / "data" / names[0].strip("/").replace("/", "_")
            place.mkdir(parents=True)
            Image.new("RGB", (40, 36 + number % 3), (number % 256, 80, 160)).save(place / "1.png")
        return data_layer.load(DataSpec(name=str(folder / "data"), validation=None, test=None), folder / "cache")

    return made


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted(paper.RECIPES))
def test_a_recipe_takes_a_real_step(name: str, backend: str, small_data: Any, tmp_path: Path) -> None:
    from keras import ops

    from experiments.distillation.prepare import prepare
    from framework.data.loader import Loader
    from framework.models import catalog
    from framework.models.initial import parameters

    key, spec = name.partition("_")[0], config.recipe_spec(name)
    splits = small_data(key)
    model = catalog.build("bit", SMALL | {"head_zero_init": False}, len(splits.classes), 32, 1)
    weights = tmp_path / "weights.npz"
    np.savez(weights, **{path: ops.convert_to_numpy(each) for path, each in parameters(model).items()})

    (tmp_path / "classes.txt").write_text("".join("\t".join(names) + "\n" for names in classes_of(key)))

    def small(each: Any) -> Any:
        return replace(each, options=SMALL, weights=each.weights and str(weights))

    def small_teacher(each: Any) -> Any:
        assert each.classes == key
        return replace(small(each), classes=str(tmp_path / "classes.txt"))

    spec = spec.replace(
        student=small(spec.student),
        teachers=tuple(map(small_teacher, spec.teachers)),
        views=replace(spec.views, size=32),
        evaluation=replace(spec.evaluation, resize=40),
        schedule=replace(spec.schedule, warmup_steps=1),
        duration=DurationSpec(total_steps=3),
        batch_size=4,
    )
    ready = prepare(spec, RunOptions(backend=backend, device="cpu", compile=False), splits=splits)
    before = {path: array.copy() for path, array in ready.trainer.state().items()}
    losses = [float(ready.trainer.step(batch)["loss"]) for batch in Loader(spec, splits.train, 3).batches()]
    assert np.isfinite(losses).all()
    assert min(losses) > 0
    assert (ready.trainer.state()["student/head/kernel"] != before["student/head/kernel"]).any()


@pytest.mark.parametrize("name", sorted(paper.ROWS))
def test_a_recipe_is_as_long_as_the_authors(name: str) -> None:
    theirs = dict(zip(GOLDEN["table/name"].tolist(), GOLDEN["table/n_bs_epochs_warmup_total"].tolist(), strict=True))
    examples, batch_size, epochs, warmup_steps, total_steps = theirs.get(name) or theirs["i1k_medium"]
    spec = config.recipe_spec(name)
    assert (spec.batch_size, spec.schedule.warmup_steps) == (batch_size, warmup_steps)
    assert (spec.duration.total_epochs, num_steps(spec)) == (epochs, total_steps)
    assert count(spec.data, Path()).train == examples == paper.DATA[name.partition("_")[0]].num_examples


def test_bit_s_rule_depends_on_the_size() -> None:
    found = {size: paper.hyper_rule(size) for size in (19_999, 20_000, 499_999, 500_000)}
    lengths = {
        size: (each["duration"]["total_steps"], each["schedule"]["warmup_steps"]) for size, each in found.items()
    }
    assert lengths == {19_999: (500, 100), 20_000: (10_000, 500), 499_999: (10_000, 500), 500_000: (20_000, 500)}
    assert [each["views"]["mixup"] for each in found.values()] == [0.0, 0.1, 0.1, 0.1]


def test_recipes_differ() -> None:
    prints = [config.recipe_spec(name).fingerprint for name in RECIPES]
    assert len(set(prints)) == len(RECIPES)


def test_defaults_and_trained_teachers_are_recipes() -> None:
    assert {DEFAULT, DEFAULT_TEACHER, *naming.TRAINED.values()} <= set(RECIPES)


def test_the_baseline_is_the_same_student() -> None:
    for data in ("digits", "glyphs"):
        distilled, labels = config.recipe_spec(data), config.recipe_spec(f"{data}_labels")
        assert (labels.student, labels.data, labels.duration) == (distilled.student, distilled.data, distilled.duration)
        assert labels.scheme.mixup == distilled.scheme.mixup

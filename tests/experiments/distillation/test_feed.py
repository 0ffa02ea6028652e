"""Whoever shares a feed sees the same batches, made once; whoever does not has its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.distillation import feed
from experiments.distillation.feed import Feed
from framework import data
from framework.data.source import Splits
from framework.spec import DistillSpec

TEACHER: Any = None
SPEC = DistillSpec.from_dict({"data": {"name": "digits"}, "batch_size": 8, "evaluation": {"train_subset": 6}})


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return data.load(SPEC.data, tmp_path_factory.mktemp("cache"))


def test_the_first_that_asks_makes_the_batches(splits: Splits, tmp_path: Path) -> None:
    shared, own = Feed(5), Feed(3)
    with_labels = replace(SPEC, loss=replace(SPEC.loss, task_weight=0.5))
    first = shared.loader(with_labels, splits, TEACHER, [], tmp_path)
    assert first.batch(0).labels is not None
    assert shared.loader(SPEC, splits, TEACHER, [], tmp_path) is first
    assert len(list(first.batches(3))) == 2
    assert own.loader(SPEC, splits, TEACHER, [], tmp_path).batch(0).labels is None


def test_evaluators_share_views_and_nothing_else(splits: Splits) -> None:
    shared, trainers = Feed(5), ("one", "other")
    one, other = (shared.evaluator(SPEC, splits, trainer) for trainer in trainers)  # type: ignore[arg-type]
    assert (one.trainer, other.trainer) == trainers
    assert one.batches is other.batches
    assert set(one.batches) == {"train", "validation", "test"}
    assert Feed(5).evaluator(SPEC, splits, TEACHER).batches is not one.batches


def test_targets_are_made_once(splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make(*asked: Any) -> list[Any]:
        made.append(asked[2:])
        return [np.zeros((splits.train.num_examples, 10), np.float32)]

    monkeypatch.setattr(feed, "make", make)
    spec, shared = replace(SPEC, teaching="fix/ic_ens"), Feed(5)
    for _ in range(2):
        loader = shared.loader(spec, splits, TEACHER, ["hash"], tmp_path)
    assert made == [(["hash"], tmp_path)]
    assert loader.batch(0).targets is not None

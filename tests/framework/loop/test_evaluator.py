"""The teachers' logits of a split are computed once, and change nothing in what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from framework.data.source import Splits
from framework.errors import UserError
from framework.loop import evaluator
from framework.protocols import EvalBatch
from tests.backends.tiny import Tiny

pytestmark = pytest.mark.backend


class Noise:
    """A source of three batches' worth of images."""

    name, fingerprint, num_examples, classes, uniform = "noise", "noise", 20, tuple("abcd"), (8, 8)

    def images(self, ids: Any) -> Any:
        return np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)[ids]

    def sizes(self, ids: Any) -> Any:
        return np.full((len(ids), 2), 8, np.int32)

    def labels(self, ids: Any) -> Any:
        return (ids % 4).astype(np.int32)


@pytest.mark.parametrize("sizes", [8, [8, 16]])
def test_teachers_are_asked_once(tiny: Tiny, sizes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(sizes) if isinstance(sizes, list) else 1
    small = {"name": "convnet", "options": {"widths": [8]}}
    views = {"size": 8, "teacher_size": sizes}
    spec = tiny.spec(views=views, teachers=[small] * count, evaluation={"batch_size": 8, "train_subset": 0})
    trainer = tiny.trainer(spec)
    splits = Splits(Noise(), Noise(), None, tuple("abcd"), "noise", "noise")
    measured = evaluator.Evaluator(spec, evaluator.evaluation_batches(spec, splits), trainer)
    plain = trainer.evaluate(measured.batches["validation"])
    asked, teach = [], trainer.teach
    monkeypatch.setattr(trainer, "teach", lambda batch: asked.append(batch) or teach(batch))
    for _ in range(2):
        found = measured.evaluate(["validation"])
        assert found == {
            f"validation.{name}": pytest.approx(value, rel=1e-5, abs=1e-6) for name, value in plain.items()
        }
    assert len(asked) == 3
    seen: list[EvalBatch] = []
    monkeypatch.setattr(trainer, "evaluate", lambda batches: seen.extend(batches) or {})
    measured.evaluate(["validation"])
    assert [len(batch.targets) for batch in seen] == [count] * 3


def test_logits_that_do_not_fit_are_not_kept(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "_KEPT_BYTES", 100)
    spec = tiny.spec(evaluation={"batch_size": 8, "train_subset": 0})
    trainer = tiny.trainer(spec)
    splits = Splits(Noise(), Noise(), None, tuple("abcd"), "noise", "noise")
    measured = evaluator.Evaluator(spec, evaluator.evaluation_batches(spec, splits), trainer)
    seen: list[EvalBatch] = []
    monkeypatch.setattr(trainer, "evaluate", lambda batches: seen.extend(batches) or {})
    measured.evaluate(["validation"])
    assert [batch.targets for batch in seen] == [(), (), ()]


def test_the_splits_along_the_way(tiny: Tiny) -> None:
    def made(evaluation: dict[str, Any], test: Noise | None) -> evaluator.Evaluator:
        spec = tiny.spec(evaluation={"batch_size": 8, "train_subset": 0, **evaluation})
        splits = Splits(Noise(), Noise(), test, tuple("abcd"), "noise", "noise")
        return evaluator.Evaluator(spec, evaluator.evaluation_batches(spec, splits), tiny.trainer(spec))

    def measured(of: evaluator.Evaluator) -> set[str]:
        return {name.split(".")[0] for name in of.along_the_way()}

    assert measured(made({}, Noise())) == {"validation"}
    both = {"splits": ["validation", "test"]}
    assert measured(made(both, Noise())) == {"validation", "test"}
    assert measured(made({"splits": ["train"], "train_subset": 8}, Noise())) == {"train"}
    with pytest.raises(UserError, match=r"the data have no test split"):
        made(both, None)
    with pytest.raises(UserError, match="train_subset is 0"):
        made({"splits": ["train"]}, Noise())


@pytest.mark.parametrize("taught", [True, False])
def test_answers_are_of_each_example_and_agree_with_the_means(tiny: Tiny, taught: bool) -> None:
    teachers = {} if taught else {"teachers": [], "teaching": "labels", "loss": {"task_weight": 1.0}}
    spec = tiny.spec(evaluation={"batch_size": 8, "train_subset": 0}, **teachers)
    splits = Splits(Noise(), Noise(), None, tuple("abcd"), "noise", "noise")
    measured = evaluator.Evaluator(spec, evaluator.evaluation_batches(spec, splits), tiny.trainer(spec))
    found, means = measured.answers("validation"), measured.evaluate(["validation"])
    # Twenty examples in three batches of eight: padding is no example.
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(found, (20,))
    assert found["ids"].tolist() == list(range(20))
    assert found["labels"].tolist() == [place % 4 for place in range(20)]
    accuracy = (found["student"] == found["labels"]).mean()
    assert means["validation.student.accuracy"] == pytest.approx(accuracy)
    assert ((found["student_p"] >= 0.25) & (found["student_p"] <= 1)).all()
    assert ("teacher" in found, "kl" in found) == (taught, taught)
    if taught:
        assert means["validation.student.kl"] == pytest.approx(found["kl"].mean(), rel=1e-4)
        assert means["validation.student.agreement@1"] == pytest.approx((found["student"] == found["teacher"]).mean())
        assert means["validation.teacher.accuracy"] == pytest.approx((found["teacher"] == found["labels"]).mean())

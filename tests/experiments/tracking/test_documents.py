from __future__ import annotations

import itertools

import pytest

from experiments.tracking.documents import CHUNK, PREVIEW, RunDocument, Series, Thinned


@pytest.mark.parametrize("count", [1, 2, PREVIEW - 1, PREVIEW, PREVIEW + 1, 12_345])
def test_a_preview_is_bounded_even_and_ends_with_the_last_point(count: int) -> None:
    preview: Thinned[int] = Thinned(PREVIEW)
    for step in range(count):
        preview.add(step)
    steps = preview.items()
    assert len(steps) <= PREVIEW
    assert len(steps) >= min(count, PREVIEW // 2)
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert len({later - earlier for earlier, later in itertools.pairwise(steps[:-1])}) <= 1


def test_a_series_is_cut_into_chunks_with_names_of_their_own() -> None:
    series = Series("uid", "train.loss")
    for step in range(2 * CHUNK + 5):
        series.add(step, 0.5, 1.0)
    chunks = series.chunks()
    assert [chunk["_id"] for chunk in chunks] == [f"uid:train.loss:{index}" for index in range(3)]
    assert [step for chunk in chunks for step in chunk["steps"]] == list(range(2 * CHUNK + 5))
    series.written()
    series.add(2 * CHUNK + 5, 0.5, 1.0)
    assert [(chunk["chunk"], len(chunk["steps"])) for chunk in series.chunks()] == [(2, 6)]


def test_a_later_end_overrides_an_earlier_one_but_keeps_its_result() -> None:
    document = RunDocument("uid")
    document.fold({"type": "ended", "time": 1.0, "status": "COMPLETED", "result": {"a": 1}})
    document.fold({"type": "ended", "time": 2.0, "status": "FAILED", "fail_trace": ["x"]})
    assert (document.fields["status"], document.fields["result"]) == ("FAILED", {"a": 1})
    document.fold({"type": "from a later version", "time": 3.0})


def test_without_sacred_the_config_is_the_spec_with_its_backend() -> None:
    document = RunDocument("uid")
    document.fold(
        {"type": "started", "time": 1.0, "spec": {"seed": 1}, "environment": {"backend": "jax", "fingerprint": "f"}}
    )
    assert document.fields["config"] == {"seed": 1, "backend": "jax"}
    assert document.fields["fingerprint"] == "f"
    document.fold({"type": "fields", "time": 1.0, "fields": {"uid": "other", "_id": 3, "root_run": "r"}})
    assert (document.fields["uid"], document.fields["root_run"]) == ("uid", "r")

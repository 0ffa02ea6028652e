"""Runs that differ in nothing but their seed: means and spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.tracking.differences import described, spec_fields
from experiments.tracking.fields import conditions, resolve
from experiments.tracking.queries.rows import Source, Where, known_fields, mapping, row_of
from experiments.tracking.queries.runs import ACCURACY
from experiments.tracking.source import Document, runs_of


def by_fingerprint(source: Source, by: Sequence[str] = (ACCURACY,), where: Where = None) -> pd.DataFrame:
    """Means and spreads over seeds: one row for each spec (less its seed) and backend, completed runs only.

    Args:
        by: result fields; those that no run has are an error.
        where: as in `list_runs`.

    Returns:
        Columns spec (what tells it from the others), fingerprint_no_seed, backend, runs (count), seeds and ids (lists),
        then for each field its mean, std (over seeds, n - 1), minimum and maximum. Runs that repeat a seed count as one
        there, with their mean. Rows of one spec stand together, also over its backends.
    """
    known = known_fields(source)
    columns = [resolve(name, known) for name in by]
    documents = runs_of(source).latest(conditions(where or (), known))[::-1]
    groups: dict[tuple[str, str], list[Document]] = {}
    for document in documents:
        if document.get("status") == "COMPLETED" and document.get("fingerprint_no_seed"):
            backend = str(mapping(document.get("config")).get("backend") or "")
            groups.setdefault((document["fingerprint_no_seed"], backend), []).append(document)
    keys = sorted(groups)
    specs = _specs([groups[key][0] for key in keys])
    rows = [{"spec": spec, **_group(key, groups[key], columns)} for key, spec in zip(keys, specs, strict=True)]
    statistics = [f"{column} {name}" for column in columns for name in ("mean", "std", "min", "max")]
    return pd.DataFrame(rows, columns=["spec", "fingerprint_no_seed", "backend", "runs", "seeds", "ids", *statistics])


def _specs(documents: Sequence[Document]) -> list[str]:
    """What each run's spec is called; two that look alike (a file has changed, say) by their fingerprints, too."""
    texts = described([spec_fields(mapping(document.get("config"))) for document in documents])
    prints = [str(document["fingerprint_no_seed"]) for document in documents]
    kinds = {text: {other for same, other in zip(texts, prints, strict=True) if same == text} for text in texts}
    return [
        f"{text} (fingerprint {fingerprint[:8]})" if len(kinds[text]) > 1 else text
        for text, fingerprint in zip(texts, prints, strict=True)
    ]


def _group(key: tuple[str, str], documents: Sequence[Document], columns: list[str]) -> dict[str, Any]:
    flat = [row_of(document) for document in documents]
    seeds = sorted({each["config.seed"] for each in flat if each.get("config.seed") is not None}, key=str)
    row: dict[str, Any] = {"fingerprint_no_seed": key[0], "backend": key[1], "runs": len(documents)}
    row |= {"seeds": seeds, "ids": [each["id"] for each in flat]}
    for column in columns:
        values = pd.to_numeric(pd.Series([each.get(column) for each in flat], dtype=object), errors="coerce")
        draws = values.groupby(_draws(flat)).mean()
        row |= {f"{column} mean": draws.mean(), f"{column} std": draws.std()}
        row |= {f"{column} min": values.min(), f"{column} max": values.max()}
    return row


def _draws(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which runs repeat each other: those of one seed; one that has none is alone."""
    return [repr(row.get("config.seed", f"run {row['id']}")) for row in rows]

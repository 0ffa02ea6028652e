"""What runs are called beside each other: by what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.tracking.differences import described, pairs, spec_fields
from experiments.tracking.fields import resolve
from experiments.tracking.queries.rows import ID, Source, mapping, row_of
from experiments.tracking.queries.runs import find_run
from experiments.tracking.source import Document, listed


def labels(source: Source, runs: Sequence[ID], names: Sequence[str] = (), without: str | None = None) -> dict[Any, str]:
    """What each run is called in a picture, by its id.

    Args:
        names: fields that are shown; by default what differs between the configs.
        without: a field of the config that is not shown, `"seed"`.

    Returns:
        One text a run, `"teaching=funmatch, seed=1"`; with its number where the others have the same.

    Raises:
        UserError: no such run, or a field that none of them has.
    """
    documents = [find_run(source, run) for run in runs]
    rows = {document["_id"]: row_of(listed(document)) for document in documents}
    if names:
        known = {name for row in rows.values() for name in row}
        fields = [resolve(name, known) for name in names]
        texts = [pairs({name: row.get(name) for name in fields}, fields) for row in rows.values()]
    else:
        texts = called(documents, without)
    return {run: text.replace("config.", "") for run, text in zip(rows, texts, strict=True)}


def called(documents: Sequence[Document], without: str | None = None) -> list[str]:
    """What each run is called beside the others: what differs between their configs, less the field `without`."""
    return described([_varied(document, without) for document in documents], short=True)


def _varied(document: Document, without: str | None) -> dict[str, Any]:
    """What a run may differ in from others: the spec, its seed and its backend."""
    config = mapping(document.get("config"))
    varied = spec_fields(config) | {name: config[name] for name in ("seed", "backend") if name in config}
    # Without a teacher the loss is what `teaching=labels` makes of it.
    implied = "" if config.get("teachers") else "loss."
    return {name: v for name, v in varied.items() if name != without and not (implied and name.startswith(implied))}

"""A data set as it was opened, and what is known about its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Opened:
    """A data set, nothing decoded.

    Attributes:
        splits: its splits.
        notes: one-line remarks for the user.
        left_out: the files that are not read and why, in words; empty where all are.
        unlabelled: splits of a labelled image folder whose images lie in no class folder.
        problems: why a split's class folders can't be trusted, for those that can't.
    """

    splits: DatasetDict
    notes: tuple[str, ...] = ()
    left_out: str = ""
    unlabelled: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each split has."""
        return {split: len(dataset) for split, dataset in self.splits.items()}

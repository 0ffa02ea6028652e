"""Questions to the runs: plain functions that take a pymongo database, or the journals, and return pandas frames."""

from experiments.tracking.queries.groups import by_fingerprint
from experiments.tracking.queries.names import called, labels
from experiments.tracking.queries.rows import known_fields, row_of
from experiments.tracking.queries.runs import ACCURACY, best, compare, find_run, list_runs, show, values
from experiments.tracking.queries.series import curves, segments, teacher_levels

__all__ = [
    "ACCURACY",
    "best",
    "by_fingerprint",
    "called",
    "compare",
    "curves",
    "find_run",
    "known_fields",
    "labels",
    "list_runs",
    "row_of",
    "segments",
    "show",
    "teacher_levels",
    "values",
]

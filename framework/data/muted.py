"""Keep the `datasets` library from talking, and from asking its servers to count what is read locally."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted(bars: bool = False) -> Iterator[None]:
    """No log lines below an error, no download counts, and no progress bars unless `bars` and stderr is a terminal."""
    import datasets
    from datasets.utils import are_progress_bars_disabled

    verbosity, counts = datasets.logging.get_verbosity(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    were_disabled = are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    if not (bars and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        if not were_disabled:
            datasets.enable_progress_bars()

"""Keep the `datasets` library from talking, and from asking its servers to count what is read locally."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted(bars: bool = False, offline: bool = False) -> Iterator[None]:
    """No log lines below an error, no download counts, and no progress bars unless `bars` and stderr is a terminal.

    `offline` lets it go straight to its cached copies.
    """
    import datasets
    from datasets.utils import are_progress_bars_disabled

    config, verbosity = datasets.config, datasets.logging.get_verbosity()
    counts, was_offline = config.HF_UPDATE_DOWNLOAD_COUNTS, config.HF_HUB_OFFLINE
    were_disabled = are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    config.HF_HUB_OFFLINE = was_offline or offline
    if not (bars and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        config.HF_UPDATE_DOWNLOAD_COUNTS, config.HF_HUB_OFFLINE = counts, was_offline
        if not were_disabled:
            datasets.enable_progress_bars()

"""One self-contained HTML file: it asks for nothing, and works from a disk, in a mail, on a web server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.errors import UserError

ASSETS = Path(__file__).parent / "assets"


def page(payload: Mapping[str, Any]) -> str:
    """The page as text, of what `experiments.reports.payload` has collected."""
    # Inside of <script>, `</script>` and `<!--` would end or change what they stand in.
    data = json.dumps(payload, allow_nan=False, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    count = len(payload["runs"])
    parts = {
        "TITLE": f"{count} run{'s' if count > 1 else ''}",
        "LICENCE": _text("uPlot.LICENSE"),
        "STYLE": _text("uPlot.min.css") + _text("report.css"),
        "DATA": data,
        "LIBRARY": _text("uPlot.iife.min.js"),
        "SCRIPT": _text("report.js"),
    }
    # At once: what was put in is not looked at again.
    return re.sub(r"@([A-Z]+)@", lambda match: parts[match[1]], _text("report.html"))


def write(path: Path, payload: Mapping[str, Any]) -> None:
    """Write the page into a file.

    Raises:
        UserError: it can't be written.
    """
    try:
        path.write_text(page(payload), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None


def _text(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")

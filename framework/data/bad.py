"""Bad images: how they are found, and what becomes of a data set that has some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from framework.data.decode import BadImage, Encoded, decode, size_of
from framework.data.rows import Rows
from framework.errors import UserError, some

Policy = Literal["error", "skip"]
MAX_SKIPPED = 1000  # at most one bad image in so many may be skipped; a single one always


def look(encoded: Encoded, whole: bool) -> tuple[int, int] | str:
    """The (height, width) of an image, or why it is bad; `whole` decodes it, else its header is read."""
    try:
        if not whole:
            return size_of(encoded)
        height, width = decode(encoded).shape[:2]
        return height, width
    except BadImage as reason:
        return str(reason)


def refuse_bad(rows: Rows, reasons: Mapping[int, str], policy: Policy, count: int | None = None) -> None:
    """Refuse bad images, unless they are skipped and few enough.

    Args:
        rows: the data.
        reasons: by row, why it is bad.
        policy: what to do about them.
        count: how many are known by now; None is that many reasons.

    Raises:
        UserError: it names the first of them.
    """
    if not reasons:
        return
    first, count = min(reasons), len(reasons) if count is None else count
    message = f"{rows.place(first)}: {reasons[first]}"
    if policy == "error":
        others = f" (and {some(count - 1, 'more bad image', 'more bad images')})" if count > 1 else ""
        raise UserError(f"{message}{others}; data.on_bad_image=skip takes a neighbour instead")
    allowed = min(max(1, len(rows) // MAX_SKIPPED), len(rows) - 1)
    if count > allowed:
        raise UserError(
            f"{rows.name}: {count} of {len(rows)} images are bad, more than the {allowed} allowed; the first: {message}"
        )

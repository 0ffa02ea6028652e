"""Numbers for people."""

from __future__ import annotations


def scaled(number: float) -> str:
    """`2.67 G` for 2.67e9: the unit follows.

    >>> scaled(23_576_165), scaled(12)
    ('23.6 M', '12 ')
    """
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {prefix}"
    return f"{number:.3g} "


def duration(seconds: float) -> str:
    """In a unit of which there are some.

    >>> duration(90), duration(200_000)
    ('90 s', '56 h')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (3 if unit == "days" else 2) * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

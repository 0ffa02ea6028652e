"""How curves look: colours that the colour-blind tell apart, line styles and marks that print tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), and lighter ones for a dark page.
_BLUE, _GREEN = ("#0072B2", "#56B4E9"), ("#009E73", "#2FCB9D")
_ORANGE, _PINK = ("#D98A00", "#F0B93A"), ("#B8508F", "#E8A1CC")
_GREY = ("#555555", "#C9D1D9")
_SKY, _YELLOW = ("#3A9BD6", "#9BD5F5"), ("#8A7A00", "#F0E442")
_OTHERS = (_BLUE, _ORANGE, _GREEN, _PINK, _GREY, _SKY, _YELLOW)
# Teachings of one kind have one colour and its mark, and differ in their lines; labels have two.
_KINDS = {
    "function matching": (_BLUE,),
    "consistent": (_GREEN,),
    "independent": (_ORANGE,),
    "fixed": (_PINK,),
    "labels": (_GREY, _ORANGE),
}
_LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Theme:
    """A page: `place` is that of its colours in each pair; ground, text and grid are colours."""

    name: str
    place: int
    ground: str
    text: str
    grid: str
    teacher: str

    @property
    def settings(self) -> dict[str, Any]:
        """Of matplotlib."""
        return {
            "figure.facecolor": self.ground,
            "savefig.facecolor": self.ground,
            "axes.facecolor": self.ground,
            "axes.edgecolor": self.text,
            "axes.labelcolor": self.text,
            "axes.titlecolor": self.text,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "text.color": self.text,
            "xtick.color": self.text,
            "ytick.color": self.text,
            "font.size": 9,
            "axes.titlesize": 10,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "svg.hashsalt": "figures",
            "pdf.fonttype": 42,
        }


LIGHT = Theme("", 0, "#ffffff", "#1f2328", "#d8dee4", "#C8102E")
DARK = Theme("-dark", 1, "#0d1117", "#e6edf3", "#30363d", "#FF6B6B")


@dataclass(frozen=True)
class Look:
    """Of one curve."""

    colour: Any
    line: Any
    mark: str


def looks(curves: Sequence[tuple[str, float]], ordered: bool, theme: Theme) -> dict[tuple[str, float], Look]:
    """Each curve's look.

    Args:
        curves: name and length of each, in the order of the legend.
        ordered: the curves are a series (lengths, temperatures): their colours go from dark to light.
        theme: the page.
    """
    names = list(dict.fromkeys(name for name, _ in curves))
    lengths = sorted({length for _, length in curves})
    if ordered or len(names) == 1 < len(curves):
        return {curve: _in_series(place, len(curves), theme) for place, curve in enumerate(curves)}
    members = _members(names)
    several = len(curves) > len(names)
    found = {}
    for name, length in curves:
        pair, mark, member = members[name]
        place = len(lengths) - 1 - lengths.index(length) if several else member
        found[name, length] = Look(pair[theme.place], _LINES[place % len(_LINES)], mark)
    return found


def _in_series(place: int, count: int, theme: Theme) -> Look:
    from matplotlib import colormaps

    share = place / max(1, count - 1)
    colour = colormaps["viridis"]((0.05 + 0.7 * share) if theme.place == 0 else (0.35 + 0.6 * share))
    return Look(colour, _LINES[place % len(_LINES)], _MARKS[place % len(_MARKS)])


def _members(names: Sequence[str]) -> dict[str, tuple[tuple[str, str], str, int]]:
    """The pair of colours of each name, its mark, and its place among those of its kind."""
    found: dict[str, tuple[tuple[str, str], str, int]] = {}
    counts: dict[str, int] = {}
    for name in names:
        kind = next((kind for kind in _KINDS if name.startswith(kind)), "")
        place = counts.get(kind, 0)
        counts[kind] = place + 1
        palette = _KINDS.get(kind, _OTHERS)
        which = (list(_KINDS).index(kind) if kind else 0) + place % len(palette)
        found[name] = (
            palette[place % len(palette)],
            _MARKS[which % len(_MARKS)],
            place if kind else place // len(_OTHERS),
        )
    return found

"""Hierarchies as pictures: the rules of a grammar, the patterns of levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int
from midstream.plot._canvas import axes, matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midstream.meta import Grammar, Levels, Symbols

__all__ = ["grammar_graph"]

#: By column, legible on white and on black; columns are told by position, too.
_COLOURS = ("#4c8ed9", "#3aa890", "#e0a030", "#b86fd0", "#e5383b", "#8a8f98")
#: Of a box, in units of the axes; rows are one unit apart and columns `_COLUMN`.
_WIDTH, _HEIGHT, _COLUMN = 3.4, 0.84, 4.5
_UNIT_INCHES = 0.68
#: Lines of a box's text, and the longest note, in characters.
_LINES, _NOTE = 2, 38
_TIMES = "\N{MULTIPLICATION SIGN}"
_UNITS = {1: "phrases", 2: "turns", 3: "sessions"}


@dataclass
class _Box:
    """A rule or a pattern, and what it is made of."""

    key: Any
    lines: list[str]
    note: str
    count: int
    column: int = 0
    row: float = 0.0
    #: Boxes that it is made of, with how often each.
    parts: dict[Any, int] = field(default_factory=dict)


def grammar_graph(
    grammar: Grammar | Levels,
    symbols: Symbols | Callable[[int], str] | None = None,
    *,
    ax: Axes | None = None,
    max_rules: int = 24,
    max_text: int = 30,
) -> Axes:
    """Draw what is made of what: the rules of a grammar, or the patterns of all levels.

    A box for each rule, with the symbols that it stands for; a curve from each part to the rule
    that is made of it, thicker where it occurs more often. Rules of a grammar stand to the right of
    all their parts; patterns of levels in a column a level.

    Parameters
    ----------
    grammar : Grammar or Levels
    symbols : Symbols or callable, optional
        What to write for a symbol: a table, or a function of the code. Default: the number.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure as large as the picture needs.
    max_rules : int, default 24
        Rules to draw, those that save the most bits; of levels, patterns in each column, and the
        parts of those that are drawn. A part that is not drawn is replaced by its own parts.
    max_text : int, default 30
        Characters in a line of a box, of which there are two; what is longer ends in an ellipsis.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        Neither a grammar nor levels; nothing to draw, because nothing has repeated; a symbol that
        the table has forgotten.

    Notes
    -----
    The bar in a box is as long as the logarithm of the number of occurrences. A symbol three times
    in a row is written once, with its count. Below the text of a pattern of levels stands the lower
    bound on the chance that it comes again within the horizon. A new figure is made by pyplot,
    which belongs to one thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        from midstream.meta import Grammar
        from midstream.plot import grammar_graph

        grammar = Grammar()
        grammar.feed(b"how much wood would a woodchuck chuck if a woodchuck could chuck wood")
        grammar_graph(grammar, chr).figure.savefig("grammar.png")
    """
    from midstream.meta import Grammar, Levels, Symbols

    max_rules = check_int("max_rules", max_rules, low=1, high=200)
    max_text = check_int("max_text", max_text, low=4, high=200)
    if symbols is None:
        label: Callable[[int], str] = str
    elif isinstance(symbols, Symbols):
        table = symbols

        def label(symbol: int) -> str:
            return str(table.decode([symbol])[0])
    elif callable(symbols):
        label = symbols
    else:
        raise ArgumentTypeError(
            f"symbols must be Symbols or a function, got {type(symbols).__name__}"
        )

    def told(expansion: Any, length: int) -> list[str]:
        # No more symbols than there is room for characters.
        shown = expansion[: _LINES * max_text]
        words = [str(label(int(symbol))) for symbol in shown]
        return _lines(words, max_text, whole=len(shown) == length, letters=symbols is chr)

    if isinstance(grammar, Grammar):
        boxes, titles = _of_grammar(grammar, max_rules, told)
    elif isinstance(grammar, Levels):
        boxes, titles = _of_levels(grammar, max_rules, told)
    else:
        raise ArgumentTypeError(
            f"grammar must be a Grammar or Levels, got {type(grammar).__name__}"
        )
    if not boxes:
        raise ArgumentValueError("grammar must have a rule to draw: nothing has repeated yet")
    _arrange(boxes)
    return _draw(boxes, titles, ax, max_text)


def _lines(words: list[str], room: int, *, whole: bool, letters: bool) -> list[str]:
    """Words on at most `_LINES` lines of `room` characters; `whole`: there are no more words."""
    if letters:
        # A space at the end of a line would not be seen.
        text = "".join("␣" if word == " " else word for word in words)
        tokens = [text[start : start + room] for start in range(0, len(text), room)]
    else:
        runs = [(word, len(list(same))) for word, same in groupby(words)]
        tokens = [f"{word} {_TIMES}{times}" if times > 1 else word for word, times in runs]
    lines = [""]
    for token in tokens:
        longer = f"{lines[-1]} {token}" if lines[-1] else token
        if len(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(token)
    cut = not whole or len(lines) > _LINES
    lines = [line if len(line) <= room else line[: room - 1] + "…" for line in lines[:_LINES]]
    if cut and not lines[-1].endswith("…"):
        lines[-1] = lines[-1][: room - 1] + "…"
    return lines


def _of_grammar(
    grammar: Grammar, max_rules: int, told: Callable[[Any, int], list[str]]
) -> tuple[dict[Any, _Box], list[str]]:
    rules = {rule.name: rule for rule in grammar.rules(max_rules)}
    boxes = {
        name: _Box(
            name,
            told(grammar.expand(rule), rule.length),
            f"{rule.occurrences}{_TIMES}, {rule.length} symbols, saves {rule.gain_bits:.0f} bits",
            rule.occurrences,
        )
        for name, rule in rules.items()
    }
    everything = {rule.name: rule for rule in grammar.rules()}

    def parts(name: bytes) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        waiting = list(everything[name].right)
        while waiting:
            part = waiting.pop()
            if part in boxes:
                found[part] = found.get(part, 0) + 1
            elif isinstance(part, bytes):
                waiting += everything[part].right
        return found

    for name, box in boxes.items():
        box.parts = parts(name)
    # To the right of all parts. Parts are shorter, so in order of length they come first.
    for name in sorted(boxes, key=lambda name: rules[name].length):
        box = boxes[name]
        box.column = max((boxes[part].column + 1 for part in box.parts), default=0)
    n_columns = 1 + max((box.column for box in boxes.values()), default=0)
    return boxes, [f"height {column + 1}" for column in range(n_columns)]


def _of_levels(
    levels: Levels, max_rules: int, told: Callable[[Any, int], list[str]]
) -> tuple[dict[Any, _Box], list[str]]:
    known = {
        level: {entry.name: entry for entry in levels.knowledge(level)}
        for level in range(1, levels.n + 1)
    }
    boxes: dict[Any, _Box] = {}
    wanted: set[str] = set()
    for level in range(levels.n, 0, -1):
        chosen = [
            entry
            for rank, entry in enumerate(known[level].values())
            if rank < max_rules or entry.name in wanted
        ]
        for entry in chosen:
            unit = _UNITS.get(level, "units")
            bound = math.floor(100 * entry.recurrence_lower)
            note = f"{entry.support}{_TIMES}"
            if entry.trials:
                note += f", again within {entry.horizon} {unit} ≥ {bound} %"
            names = [part for part in entry.pattern if isinstance(part, str)]
            wanted |= set(names)
            boxes[entry.name] = _Box(
                entry.name,
                told(entry.expansion, entry.length),
                note,
                entry.support,
                level - 1,
                parts={name: names.count(name) for name in names},
            )
    for box in boxes.values():
        box.parts = {name: count for name, count in box.parts.items() if name in boxes}
    titles = [
        f"level {level}: {_UNITS.get(level, 'units')}"
        for level in range(1, levels.n + 1)
        if known[level]
    ]
    return boxes, titles


def _arrange(boxes: dict[Any, _Box]) -> None:
    """Rows: in each column by where the parts stand, sweeping to and fro.

    Barycentres, as in Sugiyama, Tagawa and Toda (1981).
    """
    columns: dict[int, list[_Box]] = {}
    for box in boxes.values():
        columns.setdefault(box.column, []).append(box)
    wholes: dict[Any, list[_Box]] = {}
    for box in boxes.values():
        for part in box.parts:
            wholes.setdefault(part, []).append(box)
    for column in columns.values():
        column.sort(key=lambda box: (-box.count, box.lines, str(box.key)))
    height = max(map(len, columns.values()))

    def number() -> None:
        for column in columns.values():
            for index, box in enumerate(column):
                box.row = index + (height - len(column)) / 2

    number()
    for sweep in range(6):
        forward = sweep % 2 == 0
        for place in sorted(columns, reverse=not forward):
            for box in columns[place]:
                others = [boxes[part] for part in box.parts] if forward else wholes.get(box.key, [])
                if others:
                    box.row = sum(other.row for other in others) / len(others)
            columns[place].sort(key=lambda box: (box.row, str(box.key)))
            for index, box in enumerate(columns[place]):
                box.row = index + (height - len(columns[place])) / 2


def _draw(boxes: dict[Any, _Box], titles: list[str], ax: Axes | None, max_text: int) -> Axes:
    n_columns = 1 + max(box.column for box in boxes.values())
    bottom = max(box.row for box in boxes.values())
    top = min(box.row for box in boxes.values())
    width = _COLUMN * (n_columns - 1) + _WIDTH
    height = bottom - top + 1.6
    given = ax is not None
    ax = axes(ax, figsize=(_UNIT_INCHES * (width + 0.2), _UNIT_INCHES * height))
    ax.set_xlim(-0.1, width + 0.1)
    ax.set_ylim(bottom + 0.6, top - 1.0)
    ax.set_axis_off()
    ink = text_color()
    patches, path = matplotlib("patches"), matplotlib("path").Path
    # A character of a monospaced font is 0.6 of its size wide: text fits its box in any axes.
    figure: Any = ax.figure
    sides = figure.get_size_inches()
    # The layout of a new figure pads each side by 0.04 inches, whatever its size.
    shares = (
        (ax.get_position().width, ax.get_position().height)
        if given
        else (1 - 0.1 / sides[0], 1 - 0.1 / sides[1])
    )
    inches = shares[0] * sides[0] / (width + 0.2)
    room = inches * (_WIDTH - 0.16) * 72
    high = shares[1] * sides[1] / height * _HEIGHT * 72
    size = min(9.0, room / (0.61 * max_text), high / 4.2)
    small = min(7.5, room / (0.61 * _NOTE), high / 4.6)
    most = max(box.count for box in boxes.values())
    for box in boxes.values():
        for key, count in box.parts.items():
            part = boxes[key]
            x0, x1 = part.column * _COLUMN + _WIDTH, box.column * _COLUMN
            bend = 0.5 * min(x1 - x0, 1.2 * (_COLUMN - _WIDTH))
            points = [(x0, part.row), (x0 + bend, part.row), (x1 - bend, box.row), (x1, box.row)]
            share = math.log1p(box.count * count) / math.log1p(most)
            ax.add_patch(
                patches.PathPatch(
                    path(points, [path.MOVETO, path.CURVE4, path.CURVE4, path.CURVE4]),
                    facecolor="none",
                    edgecolor=_COLOURS[part.column % len(_COLOURS)],
                    linewidth=0.6 + 3.4 * min(1.0, share) ** 2,
                    alpha=0.55,
                    capstyle="butt",
                    zorder=1,
                )
            )
    for box in boxes.values():
        colour = _COLOURS[box.column % len(_COLOURS)]
        x, y = box.column * _COLUMN, box.row - _HEIGHT / 2
        for facecolor, edgecolor, alpha, long in (
            (matplotlib("pyplot").rcParams["axes.facecolor"], "none", 1.0, 1.0),
            (colour, "none", 0.25, math.log1p(box.count) / math.log1p(most)),
            ("none", colour, 1.0, 1.0),
        ):
            ax.add_patch(
                patches.Rectangle(
                    (x, y),
                    _WIDTH * long,
                    _HEIGHT,
                    facecolor=facecolor,
                    edgecolor=edgecolor,
                    alpha=alpha,
                    linewidth=1.1,
                    zorder=2,
                )
            )
        kind = {"ha": "left", "va": "center", "color": ink, "family": "monospace", "zorder": 3}
        # As it stands: a symbol can be a dollar sign, which would begin a formula.
        kind["parse_math"] = False
        heights = (-0.1,) if len(box.lines) == 1 else (-0.25, 0.01)
        for line, down in zip(box.lines, heights, strict=True):
            ax.text(x + 0.08, box.row + down, line, fontsize=size, **kind)
        note = box.note if len(box.note) <= _NOTE else box.note[: _NOTE - 1] + "…"
        ax.text(x + 0.08, box.row + 0.28, note, fontsize=small, alpha=0.75, **kind)
    for column, title in enumerate(titles):
        ax.text(
            column * _COLUMN,
            top - 0.72,
            title,
            ha="left",
            va="center",
            color=ink,
            fontsize="small",
            fontweight="bold",
        )
    # A layout that made room for texts would shrink the axes that they were measured for.
    for text in ax.texts:
        text.set_in_layout(False)
    return ax

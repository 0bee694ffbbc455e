"""Colours: dark, light, and those that the terminal itself has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

__all__ = ["PALETTES", "THEMES", "Palette", "mixed", "palette_of"]


@dataclass(frozen=True)
class Palette:
    """Styles of what is drawn, for one kind of theme.

    Nothing is told by colour alone: severities have their words, and marks their attributes, which
    stay where a terminal has no colours.
    """

    text: Style
    strong: Style
    quiet: Style
    accent: Style
    good: Style
    bad: Style
    line: Style
    chosen: Style
    key: Style
    severities: dict[str, Style]
    marks: dict[str, Style]
    current: Style
    verdicts: dict[str, Style]
    outcomes: dict[str, Style]


def _palette(
    *,
    text: str,
    quiet: str,
    accent: str,
    good: str,
    warn: str,
    block: str,
    stop: str,
    line: str,
    chosen: str,
    key: str,
    tints: tuple[str, str, str, str],
    current: str,
) -> Palette:
    style = Style.parse
    severities = {"note": style(accent), "warn": style(warn), "block": style(block)}
    severities["stop"] = style(f"bold {stop}")
    marks = {
        name: style(f"{attribute} {tint}".strip())
        for (name, attribute), tint in zip(
            (("note", "underline"), ("warn", "underline"), ("block", "bold"), ("stop", "bold")),
            tints,
            strict=True,
        )
    }
    return Palette(
        text=style(text),
        strong=style(f"bold {text}"),
        quiet=style(quiet),
        accent=style(accent),
        good=style(good),
        bad=style(stop),
        line=style(line),
        chosen=style(chosen),
        key=style(f"bold {key}"),
        severities=severities,
        marks=marks,
        current=style(current),
        verdicts={
            "holds": style(good),
            "satisfied": style(good),
            "owed": style(warn),
            "violated": style(f"bold {stop}"),
        },
        outcomes={
            "running": style(good),
            "ended": style(quiet),
            "closed": style(quiet),
            "stopped": style(f"bold {stop}"),
            "failed": style(f"bold {block}"),
        },
    )


#: Whose contrast with the background is at least 4.5 to 1, but for lines.
PALETTES = {
    "dark": _palette(
        text="#d9dde5",
        quiet="#97a1b0",
        accent="#6cb6ff",
        good="#7fd18b",
        warn="#e8c15f",
        block="#ff9e64",
        stop="#ff7b7b",
        line="#3a4250",
        chosen="bold on #24405e",
        key="#e8c15f",
        tints=(
            "#d9dde5 on #1d3a57",
            "#fff3d0 on #55430f",
            "#ffe3d0 on #67380f",
            "#ffe5e5 on #7a1f27",
        ),
        current="bold #101418 on #e8c15f",
    ),
    "light": _palette(
        text="#1f2328",
        quiet="#57606a",
        accent="#0756b5",
        good="#116329",
        warn="#7d4e00",
        block="#a33c00",
        stop="#b3131f",
        line="#c4cbd3",
        chosen="bold on #cfe4fb",
        key="#7d4e00",
        tints=(
            "#1f2328 on #d5e8fd",
            "#3b2300 on #fbe6a7",
            "#471b00 on #ffd3b5",
            "#4c0409 on #ffc9cb",
        ),
        current="bold #ffffff on #0756b5",
    ),
    # Of sixteen colours only those that differ from either background, and none where there is
    # an attribute.
    "terminal": _palette(
        text="default",
        quiet="dim",
        accent="cyan",
        good="green",
        warn="yellow",
        block="magenta",
        stop="red",
        line="dim",
        chosen="reverse",
        key="bold",
        tints=("cyan", "bold yellow", "reverse magenta", "reverse red"),
        current="reverse bold underline",
    ),
}

#: What Textual's own parts look like; the names are those of `PALETTES`. Backgrounds are nearly
#: grey: of what is bluer, terminals with 256 colours make blue.
THEMES = (
    Theme(
        name="dark",
        primary="#6cb6ff",
        secondary="#7fd18b",
        accent="#e8c15f",
        warning="#e8c15f",
        error="#ff7b7b",
        success="#7fd18b",
        foreground="#d9dde5",
        background="#14161a",
        surface="#191b1f",
        panel="#23262b",
        dark=True,
    ),
    Theme(
        name="light",
        primary="#0756b5",
        secondary="#116329",
        accent="#7d4e00",
        warning="#7d4e00",
        error="#b3131f",
        success="#116329",
        foreground="#1f2328",
        background="#ffffff",
        surface="#f7f7f8",
        panel="#e9e9ec",
        dark=False,
    ),
    Theme(
        name="terminal",
        ansi=True,
        primary="ansi_blue",
        secondary="ansi_cyan",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        accent="ansi_cyan",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=True,
        variables=dict(BUILTIN_THEMES["ansi-dark"].variables),
    ),
)


@lru_cache(maxsize=64)
def mixed(style: Style, over: Style) -> Style:
    """One style over another; they are few."""
    return style + over


def palette_of(name: str, *, dark: bool, ansi: bool) -> Palette:
    """Styles that go with a theme, also one that is not ours."""
    if name in PALETTES:
        return PALETTES[name]
    return PALETTES["terminal" if ansi else "dark" if dark else "light"]

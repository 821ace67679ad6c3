"""The figures as a picture: an SVG, drawn by hand so that it needs no library and no font."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from benchmarks.verdicts.figures import compared

WIDTH, LEFT, RIGHT = 860, 240, 30
BAND = 14
"""Height of a judge's line."""
SHORTEST, LONGEST = 10.0, 4 * 86_400.0
"""Seconds at the ends of the axis of delays."""
TICKS = {10.0: "10 s", 60.0: "1 min", 600.0: "10 min", 3600.0: "1 h", 36_000.0: "10 h",
         86_400.0: "1 d", 345_600.0: "4 d"}
COLOURS = ("#0b7285", "#e8590c", "#f4a261", "#7048e8")
INK, FAINT = "#212529", "#dee2e6"


def picture(figures: Mapping[str, Any], judges: Mapping[str, str]) -> str:
    """Return the picture of a result, for judges by name with what they are called."""
    cases = figures["cases"]
    colours = dict(zip(judges, COLOURS, strict=False))
    parts: list[str] = []
    y = _legend(parts, judges, colours)
    found = compared(cases)
    if found:
        y = _delays(parts, found, colours, y)
    healthy = [case for case in cases.values() if case["kind"] == "healthy"]
    if healthy:
        y = _alarms(parts, healthy, colours, y)
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
           'font-family="system-ui, sans-serif" font-size="13" role="img">')
    return "\n".join([
        svg,
        "<title>Delay until the alarm, and healthy releases rolled back, by judge</title>",
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>', *parts, "</svg>", ""])


def _legend(parts: list[str], judges: Mapping[str, str], colours: Mapping[str, str]) -> int:
    x = 20.0
    for name, called in judges.items():
        parts.append(f'<circle cx="{x}" cy="20" r="5" fill="{colours[name]}"/>')
        parts.append(_text(x + 10, 24, called))
        x += 34 + 6.9 * len(called)
    return 44


def _delays(parts: list[str], found: list[dict[str, Any]], colours: Mapping[str, str], y: int
            ) -> int:
    parts.append(_text(20, y + 14, "Time until the alarm: median (dot), 90 % (line), 99 % (thin)",
                       weight="bold"))
    top = y + 28
    height = len(found) * (len(colours) * BAND + 12)
    for seconds, label in TICKS.items():
        x = _x(seconds)
        parts.append(f'<line x1="{x}" y1="{top}" x2="{x}" y2="{top + height}" stroke="{FAINT}"/>')
        parts.append(_text(x, top + height + 16, label, anchor="middle"))
    y = top + 6
    for case in found:
        parts.append(_text(LEFT - 12, y + len(colours) * BAND / 2 + 4, case["title"], anchor="end"))
        for name, colour in colours.items():
            judge = case["judges"][name]
            if judge["seconds"]["p50"] is None:
                silent = judge["runs"] - judge["alarms"]
                parts.append(_text(WIDTH - RIGHT, y + BAND - 3, f"none in {silent} of "
                                   f"{judge['runs']} runs", anchor="end", size=11, colour=colour))
            else:
                parts += _spread(judge["seconds"], colour, y + BAND / 2)
            y += BAND
        y += 12
    return top + height + 44


def _spread(seconds: Mapping[str, float | None], colour: str, y: float) -> list[str]:
    """A dot at the median and lines to the percentiles; what was never reached leaves the axis."""
    middle, most, last = (_x(seconds[name]) for name in ("p50", "p90", "p99"))
    drawn = [f'<line x1="{middle}" y1="{y}" x2="{to}" y2="{y}" stroke="{colour}" '
             f'stroke-width="{width}"/>' for to, width in ((last, 1), (most, 4))]
    return [*drawn, f'<circle cx="{middle}" cy="{y}" r="5" fill="{colour}"/>']


def _alarms(parts: list[str], healthy: list[dict[str, Any]], colours: Mapping[str, str], y: int
            ) -> int:
    parts.append(_text(20, y + 14, "Healthy releases rolled back within 24 h", weight="bold"))
    y += 34
    whole = WIDTH - RIGHT - LEFT - 110
    for case in healthy:
        parts.append(_text(LEFT - 12, y + len(colours) * BAND / 2 + 4,
                           f"{case['title']} requests/s", anchor="end"))
        for name, colour in colours.items():
            one = case["judges"][name]
            width = round(whole * one["share"], 1)
            parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(width, 1.5)}" '
                         f'height="{BAND - 4}" fill="{colour}"/>')
            parts.append(_text(LEFT + max(width, 1.5) + 6, y + BAND - 3,
                               f"{one['alarms']} of {one['runs']}", size=11))
            y += BAND
        y += 12
    return y + 8


def _x(seconds: float | None) -> float:
    """Return where a delay lies on the logarithmic axis; beyond its end for None."""
    if seconds is None:
        return WIDTH - RIGHT / 2
    share = math.log(max(seconds, SHORTEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    return round(LEFT + share * (WIDTH - RIGHT - LEFT), 1)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal",
          size: int = 13, colour: str = INK) -> str:
    return (f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}" '
            f'font-size="{size}">{escape(text)}</text>')

"""Line charts as SVG, by hand: a report must open anywhere, offline, years later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import msgspec

WIDTH, HEIGHT = 1080, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 26
Point = tuple[float, float]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One series. x ascending."""

    label: str
    colour: str
    points: Sequence[Point]
    filled: bool = False
    stepped: bool = False
    width: float = 1.6


def chart(
    lines: Sequence[Line],
    *,
    x_ticks: Sequence[tuple[float, str]],
    x_range: tuple[float, float] | None = None,
    figure: Callable[[float], str] | None = None,
    top: float | None = None,
    bottom: float = 0.0,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """An <svg>. x_ticks: where, and what to write there. x_range: None: of the points. figure: how to write the y axis.
    top: of it; None: the greatest value. marks: vertical lines with their labels."""
    xs = [x for line in lines for x, _ in line.points]
    if not xs:
        return "<p>nothing to show</p>"
    low, high = x_range or (min(xs), max(max(xs), min(xs) + 1e-9))
    peak = top if top is not None else max((y for line in lines for _, y in line.points), default=1.0)
    step = nice((peak - bottom) / 4 or 1.0)
    ceiling = top if top is not None else bottom + step * max(1, -int(-(peak - bottom) // step))

    def at(x: float, y: float) -> tuple[float, float]:
        share_x = min(1.0, max(0.0, (x - low) / (high - low)))
        share_y = (min(max(y, bottom), ceiling) - bottom) / (ceiling - bottom)
        return LEFT + share_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share_y * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    value = bottom
    while value <= ceiling + 1e-9:
        _, y = at(low, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{(figure or _figure)(value)}</text>')
        value += step
    for where, label in x_ticks:
        if low <= where <= high:
            x, _ = at(where, bottom)
            parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            anchor = "end" if x > WIDTH - RIGHT - 20 else "middle"  # the last one would be cut off
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(label)}</text>')
    parts += [_drawn(line, at, bottom) for line in lines]
    for where, label in marks:
        x, _ = at(where, bottom)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{HEIGHT - BOTTOM - 8}">{escape(label)}</text>')
    return "".join([*parts, "</svg>"])


def legend(lines: Sequence[Line]) -> str:
    """What the colours mean."""
    return (
        '<div class="legend">'
        + "".join(f'<span><i style="background:{line.colour}"></i>{escape(line.label)}</span>' for line in lines)
        + "</div>"
    )


def _drawn(line: Line, at: Callable[[float, float], Point], bottom: float) -> str:
    path: list[str] = []
    last: tuple[float, float] | None = None
    for x, y in line.points:
        px, py = at(x, y)
        if last is None:
            path.append(f"M{px:.1f} {py:.1f}")
        elif line.stepped:
            path.append(f"H{px:.1f}V{py:.1f}")
        else:
            path.append(f"L{px:.1f} {py:.1f}")
        last = (px, py)
    if last is None:
        return ""
    drawn = "".join(path)
    stroke = (
        f'<path d="{drawn}" fill="none" stroke="{line.colour}" stroke-width="{line.width}" stroke-linejoin="round"/>'
    )
    if not line.filled:
        return stroke
    first_x, base_y = at(line.points[0][0], bottom)
    closed = f"{drawn}L{last[0]:.1f} {base_y:.1f}L{first_x:.1f} {base_y:.1f}Z"
    area = f'<path d="{closed}" fill="{line.colour}" opacity="0.22"/>'
    return area + stroke


def nice(step: float) -> float:
    """The distance of ticks: 1, 2 or 5 times a power of ten, at least the step."""
    power = 10.0 ** (len(str(int(step))) - 1) if step >= 1 else 1.0
    while power > step:
        power /= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"

"""A report as one HTML file, for whoever opens it: light or dark as the reader has it, fit for a phone and for paper.

Promises: no script, nothing loaded from anywhere, so that it opens offline, years later.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

COLOURS = ("#0f8f88", "#d1495b", "#d99a1c", "#6378e0", "#a06fb8", "#7c8566", "#cf7413", "#4d7189")  # on white and black
INK_BLUE = "#5b7f95"
STYLE = """
:root{color-scheme:light dark;--ink:#16242c;--soft:#5a6b75;--line:#dfe6e9;--grid:#e8edef;--tick:#f0f3f4;--card:#fff;
--back:#f6f8f8;--good:#0b7a75;--bad:#b23a48;--mark:#16242c;--best:#e9f5f3;--bar:#b8c7cd}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf0;--soft:#9db0ba;--line:#2a363d;--grid:#28343b;--tick:#202a30;
--card:#182026;--back:#0f1519;--good:#45c4ba;--bad:#f0808c;--mark:#c9d6dc;--best:#15332f;--bar:#4a5b64}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1160px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h2{font-size:17px;margin:0 0 2px}
.lead{font-size:18px;max-width:860px;margin:14px 0 22px}
.soft{color:var(--soft);font-size:13px;margin:0 0 10px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:16px 0;
break-inside:avoid}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 9px;text-align:right;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
th{font-weight:600;color:var(--soft);font-size:12.5px;border-bottom:1px solid var(--line)}
td{border-bottom:1px solid var(--grid)}
td.words{white-space:normal;text-align:left}
th.words{text-align:left}
th:first-child,td:first-child{text-align:left}
@media(max-width:640px){td:first-child{white-space:normal}}
tr.best td{background:var(--best);font-weight:600}
.kept{color:var(--good)}
.missed{color:var(--bad)}
svg{width:100%;min-width:640px;height:auto;display:block}
.scroll{overflow-x:auto}
.cost{display:inline-block;height:9px;border-radius:2px;margin-right:8px;vertical-align:1px;background:var(--bar)}
.cost.ok{background:var(--good)}
svg text{font-size:11.5px;fill:var(--soft)}
.grid{stroke:var(--grid)}
.tick{stroke:var(--tick)}
.mark{stroke:var(--mark);stroke-dasharray:4 4}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin:2px 0 8px}
.legend i{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;vertical-align:middle}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:23px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:12.5px}
.tile.good b{color:var(--good)}
.tile.bad b{color:var(--bad)}
"""


def document(title: str, *, subtitle: str, lead: str, body: Sequence[str]) -> str:
    """The whole file. title, subtitle and lead are text; body is HTML, as `section` and `tiles` give it."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><main><h1>{escape(title)}</h1>"
        f'<p class="soft">{escape(subtitle)}</p><p class="lead">{escape(lead)}</p>' + "".join(body) + "</main></html>\n"
    )


def section(title: str, told: str, body: str) -> str:
    """A card with a heading, a line on what it shows, and `body`, which is HTML."""
    soft = f'<p class="soft">{escape(told)}</p>' if told else ""
    return f'<section><h2>{escape(title)}</h2>{soft}<div class="scroll">{body}</div></section>'


def tiles(figures: Sequence[tuple[str, str, bool | None]]) -> str:
    """Large figures side by side: what, its value, and whether that is good (None: neither)."""
    marks = {True: " good", False: " bad", None: ""}
    cells = (
        f'<div class="tile{marks[good]}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for what, value, good in figures
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def time_ticks(span_s: float, *, most: int = 14) -> list[tuple[float, str]]:
    """Where to write what along an axis of so many seconds."""
    steps = ((1, "s"), (2, "s"), (5, "s"), (10, "s"), (30, "s"), (60, "min"), (300, "min"), (600, "min"), (3600, "h"))
    long = ((4 * 3600, "h"), (86_400, "d"), (7 * 86_400, "d"))
    sizes = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
    step_s, kind = next(((step_s, kind) for step_s, kind in (*steps, *long) if span_s / step_s <= most), long[-1])
    return [(k * step_s, f"{k * step_s // sizes[kind]:g} {kind}") for k in range(int(span_s / step_s) + 1)]

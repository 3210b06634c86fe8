"""The little HTML there is: one shell, one style sheet, no script, nothing loaded from anywhere else.

Promises: whatever is put in is escaped by the caller with `esc`; the Content-Security-Policy allows this style only.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from litestar import Response

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
pre,code{font:14px/1.5 ui-monospace,monospace}
pre{padding:.75rem;overflow:auto;border:1px solid #8886;border-radius:6px}
h2{margin-top:2.5rem;border-bottom:1px solid #8886}
dt{margin-top:.75rem;font-weight:600}
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .9rem .2rem 0;vertical-align:top}
.m{display:inline-block;min-width:4rem;font-weight:700}
.q{opacity:.7}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def esc(value: object) -> str:
    return escape(str(value), quote=True)


def html_page(title: str, body: str) -> Response[str]:
    """A page; `body` is HTML already."""
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{esc(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )
    headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-store"}
    return Response(document, media_type="text/html", headers=headers)

"""The web page: the files that `web/` was built into, and the plain front page where it was not built.

Promises: only files of the build are served, whatever a path says; what carries a hash in its name may be kept for
ever; the page may load scripts, styles and media from this server only.
"""

from __future__ import annotations

import functools
import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from springtide.domain.errors import NotFound
from springtide.gateway import page
from springtide.gateway.access import OPEN
from springtide.gateway.context import AnyRequest, headers_of, text

FOLDER = Path(__file__).with_name("static")
PATHS = [
    "/",
    "/batch",
    "/history",
    "/fleet",
    "/what-if",
    "/models",
    "/tenants",
    "/webhooks",
]  # pages of the application: web/src/app.tsx
# Styles may stand in the document: the components set positions and sizes so. Scripts may not.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self' ws: wss:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HASHED = re.compile(r"-[\w-]{8}\.(?:js|css)$")  # as the build names them; others keep their names
FOR_EVER = "public, max-age=31536000, immutable"
mimetypes.add_type("text/javascript", ".js")  # some systems say text/plain, which browsers refuse to run


@get(PATHS, include_in_schema=False, opt={"access": OPEN})
async def front_page(request: AnyRequest) -> Response[bytes] | Response[str]:
    """The application, or the plain page where it was not built."""
    index = _index(FOLDER)
    if index is None:
        return page.front_page(request)
    headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-cache"}
    return Response(index, media_type="text/html", headers=headers)


@get("/assets/{path:path}", include_in_schema=False, opt={"access": OPEN})
async def asset(request: AnyRequest, path: FromPath[Path]) -> Response[bytes]:
    """A file of the build, packed where the client takes that."""
    name = str(path).lstrip("/")
    found = _assets(FOLDER).get(name)
    if found is None:
        raise NotFound(f"There is no file {name[:200]!r} in the web page.")
    headers = {"cache-control": FOR_EVER if HASHED.search(name) else "public, max-age=3600", "vary": "accept-encoding"}
    packed = _assets(FOLDER).get(f"{name}.gz")
    if packed is not None and "gzip" in (text(headers_of(request), b"accept-encoding") or ""):
        found, headers["content-encoding"] = packed, "gzip"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(found.read_bytes(), media_type=kind, headers=headers)


@functools.cache
def _index(folder: Path) -> bytes | None:
    built = folder / "index.html"
    return built.read_bytes() if built.is_file() else None


@functools.cache
def _assets(folder: Path) -> Mapping[str, Path]:
    assets = folder / "assets"
    return {str(each.relative_to(assets)): each for each in assets.rglob("*") if each.is_file()}

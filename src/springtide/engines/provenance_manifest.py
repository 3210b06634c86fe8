"""C2PA manifests in files, through the library of the Content Authenticity Initiative: put in, and read back.

Works offline: no time stamp is fetched, no server is told. Where the library is left out of the installation, or has no
build for the machine, there are no manifests, and the caller falls back to metadata.
"""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from springtide.engines.provenance_tags import media_type_of
from springtide.engines.signing import Identity

log = logging.getLogger(__name__)

MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "video/mp4", "video/quicktime"})
# No preview of the picture beside it, no second reading of what was just written, no look at anybody's server.
_SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False},
}


def write_manifest(path: Path, manifest: dict[str, Any], signer: Identity, *, parent: Path | None = None) -> bool:
    """Put the signed manifest into the file, in its place. False where it cannot be.

    parent: the file this one was made from; its own manifest becomes part of the new one.
    """
    try:
        import c2pa
    except (ImportError, OSError):
        return False
    media_type = media_type_of(path)
    if media_type not in MEDIA_TYPES:
        return False
    signed = path.with_name(f"{path.name}.signed")
    info = c2pa.C2paSignerInfo(signer.algorithm, signer.certificates, signer.private_key, None)
    try:
        with ExitStack() as stack:
            context = stack.enter_context(c2pa.Context(c2pa.Settings.from_dict(_SETTINGS)))
            builder = stack.enter_context(c2pa.Builder(json.dumps(manifest), context=context))
            if parent is not None:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
                ingredient = json.dumps({"title": "source", "relationship": "parentOf"})
                source = stack.enter_context(parent.open("rb"))
                builder.add_ingredient_from_stream(ingredient, media_type_of(parent), source)
            pen = stack.enter_context(c2pa.Signer.from_info(info))
            bare, target = stack.enter_context(path.open("rb")), stack.enter_context(signed.open("w+b"))
            builder.sign(pen, media_type, bare, target)
        signed.replace(path)
    except c2pa.C2paError as error:
        log.warning("%s gets no C2PA manifest, only metadata: %s", path.name, error)
        return False
    finally:
        signed.unlink(missing_ok=True)
    return True


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The active manifest in a file, whoever signed it; None where there is none that can be read."""
    try:
        import c2pa
    except (ImportError, OSError):
        return None
    media_type = media_type_of(path)
    if media_type not in MEDIA_TYPES:
        return None
    try:
        with c2pa.Context(c2pa.Settings.from_dict(_SETTINGS)) as context, path.open("rb") as file:
            reader = c2pa.Reader.try_create(media_type, file, context=context)
            if reader is None:
                return None
            with reader:
                return reader.get_active_manifest()
    except c2pa.C2paError:
        return None

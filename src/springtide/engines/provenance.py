"""The mark of origin on what models make: a signed C2PA manifest in the file, and words in its metadata.

    mark(path, made=output, kind=Kind.GENERATED, title="Talking portrait", consent=inputs.consent)

Promises that a picture or a film says in itself that a model made it, which one, and how much of it: as C2PA manifest
(`c2pa.created` with the digital source type of IPTC, and `springtide.made` with engine, model, version and licence),
signed by this installation (`signing`), in PNG, JPEG, WebP, MP4 and MOV; beside it in the XMP of pictures, which more
programs read; and in the tags of containers that C2PA does not reach (WebM, Matroska). Who consented is in it as a
SHA-256 only. A file that cannot be marked is an error: nothing leaves unmarked without a word. `carry` hands the mark
on where a file is made from a marked one, so that a pipeline's last step does not lose it.
Does not promise that the mark stays: who wants it gone can cut it out, as any metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from springtide.engines.made import Made
from springtide.engines.provenance_manifest import read_manifest, write_manifest
from springtide.engines.provenance_tags import (
    FILMS,
    PICTURES,
    film_comment,
    media_type_of,
    retag_film,
    source_type_in_xmp,
    write_xmp,
)
from springtide.engines.signing import identity

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
LABEL = "springtide.made"
_ACTIONS = ("c2pa.actions", "c2pa.actions.v2")


class Kind(StrEnum):
    """How a file came to be, in the words of IPTC's digital source types."""

    GENERATED = "trainedAlgorithmicMedia"  # all of it by a trained model
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"  # some of it by a trained model, the rest was there
    ALGORITHMIC = "algorithmicMedia"  # by a program that learnt nothing from data
    ENHANCED = "algorithmicallyEnhanced"  # what was there, clearer; nothing made up

    @property
    def uri(self) -> str:
        return SOURCE_TYPES + self.value


class Mark(StrEnum):
    """What a file carries."""

    C2PA = "c2pa"
    METADATA = "metadata"


class Origin(msgspec.Struct, frozen=True):
    """What a marked file says of itself."""

    kind: Kind
    facts: dict[str, Any]  # engine, model, version, license, generative, consent_sha256, as far as it says


def mark(path: Path, *, made: Made, kind: Kind, title: str, consent: str | None = None) -> Mark:
    """Mark the finished picture or film at `path`, in its place; the last thing done to it, for the signature covers
    every byte.

    title: what it is, in a few words. consent: the submitter's statement; only its SHA-256 goes into the file.
    Raises ValueError for a kind of file that cannot be marked, ConfigError where the installation's signer is unusable.
    """
    facts = _facts(made)
    if consent is not None:
        facts["consent_sha256"] = hashlib.sha256(consent.encode()).hexdigest()
    return _mark(path, action="c2pa.created", made=made, title=title, origin=Origin(kind, facts))


def carry(source: Path, target: Path, *, made: Made, title: str, action: str = "c2pa.edited") -> Mark | None:
    """Hand the mark of `source` on to `target`, which was made from it; None where it has none.

    action: what was done, in C2PA's words: c2pa.edited, c2pa.transcoded, c2pa.resized, c2pa.cropped.
    Raises as `mark` does.
    """
    origin = origin_of(source)
    if origin is None:
        return None
    facts = {**origin.facts, "changed_by": _facts(made)}
    return _mark(target, action=action, made=made, title=title, origin=Origin(origin.kind, facts), parent=source)


def origin_of(path: Path) -> Origin | None:
    """What the picture or film at `path` says of how it was made; None where it does not say, or says it was filmed."""
    manifest = read_manifest(path) or {}
    assertions: list[dict[str, Any]] = manifest.get("assertions", [])
    facts = next((one["data"] for one in assertions if one["label"] == LABEL), {})
    actions = [action for one in assertions if one["label"] in _ACTIONS for action in one["data"].get("actions", ())]
    kind = _kind_of(str(action.get("digitalSourceType", "")) for action in actions)
    media_type = media_type_of(path)
    if kind is None and media_type in PICTURES:
        kind = _kind_of([source_type_in_xmp(path)])
    elif kind is None and media_type in FILMS:
        facts = _said(film_comment(path))
        kind = _kind_of([str(facts.pop("digitalSourceType", ""))])
    return None if kind is None else Origin(kind, facts)


def tags(*, made: Made, title: str, origin: Origin) -> dict[str, str]:
    """The mark as a container's metadata, in keys that MP4 and Matroska both keep."""
    return {
        "title": title,
        "comment": json.dumps({"digitalSourceType": origin.kind.uri, "generator": _tool(made), **origin.facts}),
    }


def _mark(path: Path, *, action: str, made: Made, title: str, origin: Origin, parent: Path | None = None) -> Mark:
    media_type = media_type_of(path)
    if media_type in PICTURES:
        words = json.dumps(origin.facts)
        write_xmp(path, source_type=origin.kind.uri, title=title, tool=_tool(made), description=words)
    elif media_type not in FILMS:
        raise ValueError(f"{path.name}: no mark of origin can be put into {media_type or 'an unknown format'}")
    manifest = _manifest(action, made, title, origin)
    if write_manifest(path, manifest, identity(), parent=parent if parent and read_manifest(parent) else None):
        return Mark.C2PA
    if media_type in FILMS:
        retag_film(path, tags(made=made, title=title, origin=origin))
    return Mark.METADATA


def _facts(made: Made) -> dict[str, Any]:
    return {
        "engine": made.engine,
        "model": made.model,
        "version": made.version,
        "license": made.license,
        "generative": made.generative,
    }


def _tool(made: Made) -> str:
    return f"Springtide {version('springtide')}, {made.engine} {made.version}"


def _manifest(action: str, made: Made, title: str, origin: Origin) -> dict[str, Any]:
    done = {
        "action": action,
        "digitalSourceType": origin.kind.uri,
        "softwareAgent": {"name": f"{made.engine} ({made.model})", "version": made.version},
    }
    return {
        "claim_generator_info": [{"name": "Springtide", "version": version("springtide")}],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [done]}},
            {"label": LABEL, "data": origin.facts},
        ],
    }


def _kind_of(uris: Iterable[str]) -> Kind | None:
    """The first that is one of ours."""
    names = (uri.removeprefix(SOURCE_TYPES) for uri in uris)
    return next((Kind(name) for name in names if name in set(Kind)), None)


def _said(comment: str) -> dict[str, Any]:
    try:
        said = json.loads(comment)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

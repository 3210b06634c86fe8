"""Multipart uploads that a crash left open: their parts are in no listing of objects, and are paid for all the same.

The store's client cannot list them, so this asks by signed URLs and plain HTTP.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from springtide.blobs.s3_place import S3Place
from springtide.blobs.s3_signing import signed_url
from springtide.domain.errors import Unavailable

VALID_S = 60.0
_NAMESPACE = re.compile(r"^\{.*\}")


async def abort_unfinished(place: S3Place, keys: Any, before_s: float) -> int:
    """Abort what was begun below our prefix before then; returns how many. Raises Unavailable."""
    import httpx

    count = 0
    marker: dict[str, str] = {}
    try:
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
            while True:
                parameters = {"uploads": "", "prefix": place.prefix, **marker}
                url = signed_url(place, keys, "GET", "", expires_s=VALID_S, parameters=parameters)
                page = ElementTree.fromstring((await http.get(url)).raise_for_status().content)  # noqa: S314 - our store's
                for key, upload in _begun_before(page, before_s):
                    parameters = {"uploadId": upload}
                    url = signed_url(place, keys, "DELETE", key, expires_s=VALID_S, parameters=parameters)
                    (await http.delete(url)).raise_for_status()
                    count += 1
                found = _texts(page)
                if found.get("IsTruncated") != "true":
                    return count
                marker = {"key-marker": found["NextKeyMarker"], "upload-id-marker": found["NextUploadIdMarker"]}
    except (httpx.HTTPError, ElementTree.ParseError, KeyError) as error:
        # Without its address, which holds a signature.
        reason = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        raise Unavailable(f"Unfinished uploads cannot be looked for: {reason}.") from None


def _begun_before(page: ElementTree.Element, before_s: float) -> list[tuple[str, str]]:
    """(key, upload id) of each upload on the page that is old enough."""
    uploads = [_texts(element) for element in page if _NAMESPACE.sub("", element.tag) == "Upload"]
    return [
        (upload["Key"], upload["UploadId"])
        for upload in uploads
        if datetime.fromisoformat(upload["Initiated"]).timestamp() < before_s
    ]


def _texts(element: ElementTree.Element) -> dict[str, str]:
    return {_NAMESPACE.sub("", child.tag): child.text or "" for child in element}

"""URLs that carry their own permission, for one request and a short time (AWS Signature Version 4).

botocore signs: it knows temporary keys, and unlike the store's own client it signs headers and query parameters, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from springtide.blobs.s3_place import S3Place

SERVICE = "s3"


def signed_url(
    place: S3Place,
    keys: Any,
    method: str,
    key: str,
    *,
    expires_s: float,
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """A URL for `method` on one object (or, with no key, the bucket). `headers` must then be sent as they are."""
    from botocore.auth import S3SigV4QueryAuth  # 18 MB that only signing needs
    from botocore.awsrequest import AWSRequest

    url = f"{place.base}/{quote(key)}"
    request: Any = AWSRequest(method, url, headers=dict(headers or {}), params=dict(parameters or {}))
    S3SigV4QueryAuth(keys, SERVICE, place.region, expires=max(1, int(expires_s))).add_auth(request)
    return str(request.url)

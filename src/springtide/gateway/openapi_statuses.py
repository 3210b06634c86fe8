"""Which errors each route may answer with: what holds for every route, and what one has of its own.

Promises: a status that a client can meet is in the document (tests/component/test_gateway_openapi.py tries), each with
the shape of a problem. OpenAI's routes have their own list (`openai.described`), in their own shape.
"""

from __future__ import annotations

from typing import Any

from springtide.gateway.openai.errors import is_openai

Document = dict[str, Any]

PROBLEM: Document = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_WHY = {
    "400": "The request cannot be read, or has a query parameter that is not known here.",
    "403": "Not a link that was made here.",
    "404": "There is no such thing for this tenant.",
    "408": "The request fell silent before its end.",
    "409": "The state of the thing forbids this.",
    "410": "It was here, or would have been, and has been deleted: things are kept for a time.",
    "413": "More bytes, jobs or parts than the limit.",
    "415": "A media type that is not taken here.",
    "416": "The range lies outside the file.",
    "422": "Fields or files are wrong; `errors` lists each.",
    "429": "Too much at once; see Retry-After.",
    "500": "A defect; the log has it under the `request_id`.",
    "503": "A dependency is down; see Retry-After.",
    "504": "It may have happened; repeat it with the same Idempotency-Key.",
}
_ALL = ("400", "500")
_WITH_A_BODY = ("408", "413", "504")
_OF_A_THING = ("404", "410")
_OWN = {
    ("/v1/jobs", "post"): ("404", "415", "422"),
    ("/v1/jobs", "get"): ("404",),
    ("/v1/jobs/estimate", "post"): ("404", "413", "422"),
    ("/v1/trace", "get"): ("404",),
    ("/v1/jobs/batches", "post"): ("409", "415", "422"),
    ("/v1/jobs/batches/{batch_id}/cancel", "post"): ("409", "504"),
    ("/v1/jobs/batches/{batch_id}/retry", "post"): ("409", "422", "504"),
    ("/v1/jobs/{job_id}", "delete"): ("409",),
    ("/v1/jobs/{job_id}/retry", "post"): ("409", "422", "504"),
    ("/v1/jobs/{job_id}/cancel", "post"): ("409", "504"),
    ("/v1/jobs/{job_id}/result", "get"): ("409", "422"),
    ("/v1/jobs/{job_id}/files/{field}", "get"): ("409", "416", "422"),
    ("/v1/blobs", "post"): ("422",),
    ("/v1/blobs/{blob_id}", "get"): ("416",),
    ("/v1/links/{blob_id}", "get"): ("403", "416"),
    ("/v1/blobs/uploads", "post"): ("422",),
    ("/v1/blobs/uploads/{blob_id}", "put"): ("409", "422"),
    ("/v1/blobs/{blob_id}/complete", "post"): ("409", "422"),
    ("/v1/usage", "get"): ("422",),
    ("/v1/keys", "get"): ("422",),
    ("/v1/keys", "post"): ("422",),
    ("/v1/keys/{key_id}", "delete"): ("422",),
    ("/v1/models/{name}/scale", "post"): ("422", "504"),
    ("/v1/models/{name}/pause", "post"): ("422", "504"),
    ("/v1/models/{name}/resume", "post"): ("422", "504"),
    ("/v1/models/{name}/rollout", "get"): ("422",),
    ("/v1/models/{name}/rollout", "post"): ("409", "422", "504"),
    ("/v1/models/{name}/rollout", "patch"): ("409", "422", "504"),
    ("/v1/models/{name}/rollout/promote", "post"): ("409", "422", "504"),
    ("/v1/models/{name}/rollout/abort", "post"): ("409", "422", "504"),
    ("/v1/workers", "get"): ("504",),
    ("/v1/workers/{worker_id}/drain", "post"): ("422", "504"),
    ("/v1/webhooks", "post"): ("409", "422"),
    ("/v1/webhooks/{webhook_id}", "patch"): ("422",),
    ("/v1/webhooks/{webhook_id}/rotate", "post"): ("422",),
    ("/v1/webhooks/{webhook_id}/redeliver", "post"): ("422",),
    ("/readyz", "get"): ("503",),
}


def describe_errors(paths: Document) -> None:
    """Add them to every operation but OpenAI's. What is refused for want of a key is in `openapi_access`."""
    for path, operations in paths.items():
        if is_openai(path):
            continue
        for method, operation in operations.items():
            responses: Document = operation["responses"]
            for status in _statuses(path, method, has_body="requestBody" in operation):
                known: Document = responses.get(status, {})
                is_frameworks = status.startswith("4")  # its own idea of a refusal, which nobody is answered
                if is_frameworks or "application/json" not in known.get("content", {}):
                    responses[status] = {"description": _WHY[status], "content": PROBLEM}
                else:
                    known["content"].update(PROBLEM)


def _statuses(path: str, method: str, *, has_body: bool) -> list[str]:
    found = {*_ALL, *_OWN.get((path, method), ())}
    if path.startswith("/v1/"):
        found |= {"429", "503"}
    if has_body:
        found |= set(_WITH_A_BODY)
    if "{" in path:
        found |= set(_OF_A_THING)
    return sorted(found)

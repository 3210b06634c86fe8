"""`springtide gateway` without authentication, limits and validation: what `benchmarks.entrance` compares with.

Everybody is the default tenant, nothing is counted, and inputs go on record as they came, with the first job's as the
model's view of all. Not a way to serve anybody.
"""

from __future__ import annotations

from typing import Any

from springtide.cli.main import main
from springtide.domain.ids import DEFAULT_TENANT
from springtide.domain.keys import USUAL_SCOPES
from springtide.domain.tenant import Tenant
from springtide.gateway import submission
from springtide.gateway.access import STATE, Access, Caller
from springtide.gateway.admission import Admission
from springtide.gateway.metering import Metering

ANYBODY = Caller(tenant=Tenant(id=DEFAULT_TENANT), scopes=USUAL_SCOPES)


def strip() -> None:
    """Take them out of this process."""
    validate: Any = submission._bind
    first: list[Any] = []

    def identify(_: Access, scope: Any) -> Caller:
        scope.setdefault("state", {})[STATE] = ANYBODY
        return ANYBODY

    def bind(served: Any, request: Any, intake: Any) -> tuple[Any, dict[str, Any]]:
        if not first:
            first.append(validate(served, request, intake)[0])
        return first[0], request.inputs

    async def nothing(*_: Any, **__: Any) -> None: ...

    Access.identify = identify
    Access.admit = lambda *_: ANYBODY  # type: ignore[method-assign,assignment] - replaced on purpose
    Metering.job = nothing
    Admission._refusal = lambda *_: None  # type: ignore[method-assign,assignment] - what it counts, promises rest on
    submission._bind = bind


if __name__ == "__main__":
    strip()
    main()

"""What an engine says one run will cost, made safe: an estimate never refuses a job and is never nonsense."""

from __future__ import annotations

import logging
import math

from pydantic import BaseModel

from springtide.domain.errors import CallerError
from springtide.gateway.services import ServedModel

log = logging.getLogger(__name__)

DEFAULT_RUN_S = 1.0  # Engine.estimate's own default, where an estimate fails


def estimate(served: ServedModel, bound: BaseModel | None) -> float:
    """Seconds one run is thought to take; `bound` is None where the inputs are not all known yet."""
    if bound is None:
        return DEFAULT_RUN_S
    try:
        found = float(served.engine.estimate(bound))
    except CallerError:
        raise
    except Exception:
        log.exception("the estimate of %s failed; %s s is assumed", served.model.name, DEFAULT_RUN_S)
        return DEFAULT_RUN_S
    if not math.isfinite(found) or found < 0:
        return DEFAULT_RUN_S
    return min(found, served.timeout_s)

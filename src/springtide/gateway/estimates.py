"""What an engine says one run will cost, made safe: an estimate never refuses a job and is never nonsense."""

from __future__ import annotations

import logging
import math

from pydantic import BaseModel

from springtide.domain.errors import CallerError
from springtide.domain.job import Foretold
from springtide.engines.protocol import Engine
from springtide.gateway.served import ServedModel
from springtide.policy.cost import MOST_FEATURES

log = logging.getLogger(__name__)

DEFAULT_RUN_S = 1.0  # Engine.estimate's own default, where an estimate fails


def foretold(served: ServedModel, bound: BaseModel | None) -> Foretold:
    """What the engine says of one run; `bound` is None where the inputs are not all known yet."""
    if bound is None:
        return Foretold(estimate_s=DEFAULT_RUN_S)
    return Foretold(estimate_s=_estimate(served, bound), features=_features(served, bound))


def _features(served: ServedModel, bound: BaseModel) -> dict[str, float]:
    if type(served.engine).features is Engine.features:
        return {}
    try:
        found = served.engine.features(bound)
        return {
            name: round(float(value), 3)
            for name, value in list(found.items())[:MOST_FEATURES]
            if math.isfinite(value) and value >= 0
        }
    except CallerError:
        raise
    except Exception:
        log.exception("the features of a job of %s cannot be told; its estimate alone counts", served.model.name)
        return {}


def _estimate(served: ServedModel, bound: BaseModel) -> float:
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

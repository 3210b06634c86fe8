# Made from aio/rollouts.py by `python docs/generate.py`; a change there, not here.
"""Two versions of a model side by side. For keys with the scope `admin`."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from springtide.client.requests import Request, order
from springtide.client.rollouts import Rollout
from springtide.client.sync.http import Http


class Rollouts:
    """`client.rollouts`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, model: str) -> Rollout:
        """The model's last rollout; while it runs with both versions as they do now. Raises NotFound."""
        return self._http.json(Request(method="GET", path=_path(model)), Rollout)

    def start(
        self,
        model: str,
        version: str,
        *,
        weight: float | None = None,
        sticky: Literal["tenant", "job"] | None = None,
        max_failure_rate_margin: float | None = None,
        max_p95_margin: float | None = None,
        min_samples: int | None = None,
    ) -> Rollout:
        """Send a share of the jobs to another version. Raises Conflict where one runs already, or where the versions do
        not take and give the same."""
        said = order(
            _path(model),
            version=version,
            weight=weight,
            sticky=sticky,
            max_failure_rate_margin=max_failure_rate_margin,
            max_p95_margin=max_p95_margin,
            min_samples=min_samples,
        )
        return self._http.json(said, Rollout)

    def change(self, model: str, *, weight: float) -> Rollout:
        """Another share, in per cent."""
        return self._http.json(order(_path(model), method="PATCH", weight=weight), Rollout)

    def promote(self, model: str, *, reason: str | None = None) -> Rollout:
        """Make the canary the stable version."""
        return self._http.json(order(f"{_path(model)}/promote", reason=reason), Rollout)

    def abort(self, model: str, *, reason: str | None = None) -> Rollout:
        """Send everything to the stable version again, with what waits for the canary."""
        return self._http.json(order(f"{_path(model)}/abort", reason=reason), Rollout)


def _path(model: str) -> str:
    return f"/v1/models/{quote(model, safe='')}/rollout"

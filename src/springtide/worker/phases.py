"""The spans of an attempt on its worker: cold start, download, run with its stages, upload. Kept while it is held, told
as each is over, and only where traces are configured."""

from __future__ import annotations

from dataclasses import dataclass, field

from springtide.domain.lease import Lease
from springtide.telemetry.tracing import Part, tell


@dataclass(slots=True)
class Phases:
    """Of one attempt. Instants are Unix seconds."""

    lease: Lease
    traceparent: str | None
    began_at_s: float
    stage: tuple[str, float] | None = None  # the one it is in, and since when
    told: list[str] = field(default_factory=list[str])

    def waited_for_start(self, start_s: float, ready_at_s: float) -> None:
        """The model was loaded while the job waited."""
        start_s = max(start_s, self.lease.enqueued_at_s)
        if start_s < ready_at_s:
            self._tell("cold start", ("queue", self.lease.attempt), start_s, ready_at_s)

    def over(self, name: str, now_s: float, *, error: str | None = None) -> None:
        """The phase that began when the one before was over."""
        if name == "run" and self.stage is not None:
            self._end_stage(now_s)
        self._tell(name, ("attempt", self.lease.attempt), self.began_at_s, now_s, error=error)
        self.began_at_s = now_s

    def skip(self, now_s: float) -> None:
        """What was in between is nobody's phase: a wait for its turn on the worker."""
        self.began_at_s = now_s

    def at_stage(self, name: str, now_s: float) -> None:
        if self.stage is None or self.stage[0] != name:
            if self.stage is not None:
                self._end_stage(now_s)
            self.stage = (name, now_s)

    def _end_stage(self, now_s: float) -> None:
        assert self.stage is not None
        name, start_s = self.stage
        number, self.stage = len(self.told), None
        self.told.append(name)
        under = ("run", self.lease.attempt)
        self._tell(f"stage {name}", under, start_s, now_s, part=("stage", self.lease.attempt, number))

    def _tell(
        self, name: str, under: Part, start_s: float, end_s: float, *, error: str | None = None, part: Part = ()
    ) -> None:
        what = part or (name, self.lease.attempt)
        tell(
            self.lease.id,
            self.traceparent,
            name,
            what=what,
            under=under,
            start_s=start_s,
            end_s=end_s,
            error=error,
            worker=self.lease.worker,
            model=self.lease.model,
        )

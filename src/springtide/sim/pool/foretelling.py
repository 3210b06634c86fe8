"""How good are ETAs? Each job is told a band when it arrives (policy/eta.py), and held to it when it ends."""

from __future__ import annotations

from springtide.policy.eta import Band, Calibration, Place, correct, foretell
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.pool import Pool

RUN_P90 = 1.45  # over the median, for predictions that are off by 30 %


class Foretelling:
    """Counts of jobs that ended within their bands."""

    def __init__(self, jobs: Jobs, *, cold_start_s: float) -> None:
        self._jobs, self._cold_start_s = jobs, cold_start_s
        self._calibration = Calibration()
        self._told: dict[int, Band] = {}
        self.jobs = self.held50 = self.held90 = 0

    def arrived(self, job: int, pool: Pool, now_s: float) -> None:
        """Before the job is put into the queue."""
        predicted_s = self._jobs.predicted_s[job]
        ahead, ahead_s = pool.line.ahead(job)
        place = Place(
            ahead=ahead,
            ahead_s=ahead_s,
            run_s=predicted_s,
            run_p90_s=RUN_P90 * predicted_s,
            idle=len(pool.idle),
            busy_left_s=tuple(replica.free_s - now_s for replica in pool.busy),
            loading_left_s=tuple(replica.ready_s - now_s for replica in pool.loading),
            cold_start_s=self._cold_start_s,
        )
        self._told[job] = foretell(place, self._calibration)

    def ended(self, job: int, now_s: float) -> None:
        band, took_s = self._told.pop(job), now_s - self._jobs.at_s[job]
        self.jobs += 1
        self.held50 += band.low50_s <= took_s <= band.high50_s
        self.held90 += band.low90_s <= took_s <= band.high90_s
        self._calibration = correct(self._calibration, band, took_s=took_s)

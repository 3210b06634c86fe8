"""One simulated model: its queue, its replicas, its counters, its bill."""

from __future__ import annotations

from springtide.policy.elastic.view import PoolView
from springtide.sim.pool.chance import Chance
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.line import Line
from springtide.sim.pool.weather import Weather


class Replica:
    """One worker, from launch to termination."""

    __slots__ = ("born_s", "free_s", "gone", "idle_since_s", "job", "leaving", "pool", "ready_s")

    def __init__(self, pool: Pool, born_s: float, ready_s: float) -> None:
        self.pool = pool
        self.born_s = born_s
        self.ready_s = ready_s
        self.idle_since_s = ready_s
        self.free_s = ready_s  # as predicted
        self.job = -1
        self.leaving = False
        self.gone = False


class Pool:
    """State only: the engine says what happens when."""

    def __init__(self, jobs: Jobs, line: Line, weather: Weather, *, wait_s: float, chance: Chance) -> None:
        self.jobs, self.line, self.weather, self.wait_s, self._chance = jobs, line, weather, wait_s, chance
        self._expected_s, self._p90_s = weather.expected_s, weather.p90_s
        self.loading: list[Replica] = []
        self.idle: list[Replica] = []
        self.busy: dict[Replica, None] = {}
        self.leaving = 0
        self.arrived, self.arrived_s, self.arrived_s2 = 0, 0.0, 0.0
        self.started = self.late = 0
        self.inside_s = self.busy_s = self.ready_s = self.billed_s = 0.0
        self.launches = self.events = self.stopped_busy = self.crashes = 0
        self.peak = 0
        self._last_s = 0.0
        self._waiting_at: list[float] = []  # arrivals in order; those begun are skipped
        self._begun: set[int] = set()
        self._oldest = 0
        self._mine: list[int] = []

    def advance(self, now_s: float) -> None:
        """Bring the integrals up to now."""
        past_s = now_s - self._last_s
        if past_s > 0:
            running = len(self.busy)
            self.inside_s += past_s * (self.line.count + running)
            self.busy_s += past_s * running
            self.ready_s += past_s * (len(self.idle) + running)
            self._last_s = now_s

    def arrive(self, job: int) -> None:
        predicted_s = self.jobs.predicted_s[job]
        self.arrived += 1
        self.arrived_s += predicted_s
        self.arrived_s2 += predicted_s * predicted_s
        self._mine.append(job)
        self.line.push(job)

    def begin(self, job: int) -> None:
        """For the age of the oldest: this one waits no more."""
        self._begun.add(job)
        while self._oldest < len(self._mine) and self._mine[self._oldest] in self._begun:
            self._begun.discard(self._mine[self._oldest])
            self._oldest += 1

    def oldest_wait_s(self, now_s: float) -> float:
        if self._oldest >= len(self._mine):
            return 0.0
        return max(0.0, now_s - self.jobs.at_s[self._mine[self._oldest]])

    @property
    def staying(self) -> int:
        """Replicas that are not on their way out."""
        return len(self.loading) + len(self.idle) + len(self.busy) - self.leaving

    def launch(self, now_s: float) -> Replica:
        replica = Replica(self, now_s, now_s + self.weather.start_s(self._chance))
        self.loading.append(replica)
        self.launches += 1
        self.peak = max(self.peak, len(self.loading) + len(self.idle) + len(self.busy))
        return replica

    def shrink(self, surplus: int, now_s: float, *, cancels_loading: bool) -> list[Replica]:
        """Take so many away: loading ones first where the peer does so, idle ones, then busy ones finish and go."""
        going: list[Replica] = []
        if cancels_loading:
            while len(going) < surplus and self.loading:
                going.append(self.loading.pop())
        if len(going) < surplus and self.idle:
            self.idle.sort(key=lambda replica: replica.idle_since_s)
            fewest = min(surplus - len(going), len(self.idle))
            going += self.idle[:fewest]
            del self.idle[:fewest]
        short = surplus - len(going)
        if short > 0:
            for replica in sorted((r for r in self.busy if not r.leaving), key=lambda r: r.free_s)[:short]:
                replica.leaving = True
                self.leaving += 1
                self.stopped_busy += 1
        return going

    def view(self, now_s: float) -> PoolView:
        """What a policy may know of it, as the controller would measure it."""
        self.advance(now_s)
        if self.leaving:
            left = tuple([replica.free_s - now_s for replica in self.busy if not replica.leaving])
        else:
            left = tuple([replica.free_s - now_s for replica in self.busy])
        return PoolView(
            now_s=now_s,
            waiting=self.line.count,
            waiting_s=self.line.work_s,
            oldest_wait_s=self.oldest_wait_s(now_s) if self.line.count else 0.0,
            arrived=self.arrived,
            arrived_s=self.arrived_s,
            arrived_s2=self.arrived_s2,
            started=self.started,
            late=self.late,
            inside_s=self.inside_s,
            busy_s=self.busy_s,
            ready_s=self.ready_s,
            idle_for_s=tuple([now_s - replica.idle_since_s for replica in self.idle]),
            busy_left_s=left,
            loading_left_s=tuple([replica.ready_s - now_s for replica in self.loading]),
            draining=self.leaving,
            cold_start_s=self._expected_s,
            cold_start_s_p90=self._p90_s,
        )

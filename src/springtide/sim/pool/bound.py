"""What a fleet would cost that knows the future: `greedy`, which is feasible, and `relaxed`, which nothing can beat.

Both know every arrival and run time, pay for a replica from its launch to its end, cold start included, and start every
job within its wait. `greedy` packs jobs into replicas' lives and is an upper estimate of the optimum for the objective
of every job; `relaxed` is a linear program in which jobs and replicas can be split, with the share of jobs that may be
late: a lower bound.
"""

from __future__ import annotations

import bisect
import math
from typing import Any

import msgspec

from springtide.domain.errors import ConfigError
from springtide.sim.pool.jobs import Jobs

MOST_STARTS = 400_000  # of the linear program: more take many minutes
MOST_WAITS = 10.0  # of the objective's wait: nobody is put off for longer


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Replica hours, and what they are: feasible for every job, or a lower bound for a share of them."""

    replica_hours: float
    launches: int = 0


def greedy(jobs: Jobs, *, wait_s: float, cold_start_s: float, share: float = 1.0) -> Cost:
    """In order of arrival each job goes to the replica that becomes free last within its wait, if keeping that one idle
    until then costs less than another cold start; else to a new one, launched early enough.

    share: so many of the jobs must keep the wait; those whose own replica would serve nobody else are dropped first to
    a replica that is free later (they are late, not lost).
    """
    free: list[float] = []  # when each living replica will be free
    cost_s, launches, late = 0.0, 0, 0
    may_be_late = (1 - share) * len(jobs)
    for at_s, run_s in zip(jobs.at_s, jobs.run_s, strict=True):
        found = bisect.bisect_right(free, at_s + wait_s)
        if found:
            free_s = free[found - 1]
            idle_s = max(0.0, at_s - free_s)
            if idle_s < cold_start_s:
                del free[found - 1]
                cost_s += idle_s + run_s
                bisect.insort(free, max(at_s, free_s) + run_s)
                continue
        if late < may_be_late and len(free) > found:
            free_s = free.pop(found)  # the first that is free after its wait: late, but no launch
            cost_s += run_s
            late += 1
            bisect.insort(free, free_s + run_s)
            continue
        launches += 1
        cost_s += cold_start_s + run_s
        bisect.insort(free, at_s + run_s)
    return Cost(replica_hours=cost_s / 3600, launches=launches)


def relaxed(jobs: Jobs, *, wait_s: float, cold_start_s: float, share: float = 1.0, step_s: float = 20.0) -> Cost:
    """Less than any schedule costs that starts this share of jobs within their wait and the others within ten times it.

    Jobs run whole and without a break, but a job may be split between starting times, and replicas come in fractions.
    Variables: y, how much of a job begins at each time that matters; f, how much of it is late; z, late work in a step,
    wherever it is cheapest; x, mean replicas up in a step; u, launches. Minimise Σ step·x + cold·u with Σ y + f = 1 for
    each job, Σ f <= (1 − share) n, Σ occupied·y + z <= x and u >= x − x before, for each step. It is a lower bound
    whatever the step: occupied seconds of a step are linear in the start between the times taken (those at which start
    or end cross an edge), so each start is a mixture of two of them; means over steps grow no more often than what they
    are means of. What comes after the last arrival is free, and so are replicas that are up at the begin. Needs scipy
    (HiGHS); raises ConfigError without it.
    """
    try:
        import numpy as np
        import scipy.sparse as sp
        from scipy.optimize import linprog
    except ImportError as error:
        raise ConfigError("the lower bound needs scipy: pip install scipy") from error
    steps, count = int(jobs.span_s // step_s), len(jobs)
    begins, occupied = _starts(jobs, wait_s=wait_s, step_s=step_s, steps=steps)
    if steps < 2 or len(occupied) > MOST_STARTS:
        raise ConfigError(
            f"{count} jobs in {steps} steps make no linear program to be solved in minutes; take another step"
        )
    owner = np.asarray(begins)
    cells = [(row, column, value) for column, one in enumerate(occupied) for row, value in one]
    rows, columns, values = (np.asarray(one) for one in zip(*cells, strict=True))
    runs: Any = sp.csr_matrix((values, (rows, columns)), shape=(steps, len(owner)))
    one: Any = sp.identity(steps, format="csr")
    rise: Any = (one - sp.eye(steps, k=-1, format="csr"))[1:]
    each: Any = sp.csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(count, len(owner)))
    at, run = np.asarray(jobs.at_s), np.asarray(jobs.run_s)
    postponed = np.where(at + MOST_WAITS * wait_s + run <= steps * step_s, run, 0.0)
    # y, f, z, x, u
    less = sp.bmat(
        [
            [runs, None, one, -one, None],
            [None, None, None, rise, -sp.identity(steps - 1)],
            [None, sp.csr_matrix(np.ones((1, count))), None, None, None],
            [None, sp.csr_matrix(postponed[None, :]), sp.csr_matrix(np.full((1, steps), -step_s)), None, None],
        ],
        format="csr",
    )
    limits = np.concatenate([np.zeros(2 * steps - 1), [(1 - share) * count, 0.0]])
    whole = sp.hstack([each, sp.identity(count), sp.csr_matrix((count, 3 * steps - 1))], format="csr")
    price = np.concatenate(
        [np.zeros(len(owner) + count + steps), np.full(steps, step_s), np.full(steps - 1, cold_start_s)]
    )
    found = linprog(price, A_ub=less, b_ub=limits, A_eq=whole, b_eq=np.ones(count), method="highs-ipm")
    if found.status != 0:
        raise ConfigError(f"the linear program was not solved: {found.message}")
    return Cost(replica_hours=float(found.fun) / 3600)


def _starts(jobs: Jobs, *, wait_s: float, step_s: float, steps: int) -> tuple[list[int], list[list[tuple[int, float]]]]:
    """Every start that matters: whose it is, and the share of each step that the run then takes."""
    begins: list[int] = []
    occupied: list[list[tuple[int, float]]] = []
    for job, (at_s, run_s) in enumerate(zip(jobs.at_s, jobs.run_s, strict=True)):
        times = {at_s, at_s + wait_s}
        for moved_s in (0.0, run_s):  # when its begin, and when its end is on an edge
            first = math.ceil((at_s + moved_s) / step_s) * step_s - moved_s
            times.update(first + i * step_s for i in range(int((at_s + wait_s - first) // step_s) + 1))
        for begin_s in times:
            end_s = begin_s + run_s
            begins.append(job)
            occupied.append(
                [
                    (step, (min(end_s, (step + 1) * step_s) - max(begin_s, step * step_s)) / step_s)
                    for step in range(int(begin_s // step_s), min(steps, int(end_s // step_s) + 1))
                    if min(end_s, (step + 1) * step_s) > max(begin_s, step * step_s)
                ]
            )
    return begins, occupied

"""What a fleet would cost that knows the future: `greedy`, which is feasible, and `fluid`, which nothing can beat.

Both know every arrival and run time, pay for a replica from its launch to its end, cold start included, and start every
job within its wait. `greedy` packs jobs into replicas' lives and is an upper estimate of the optimum for the objective
of every job; `fluid` is a linear program on work instead of jobs, with the share of jobs that may be late: a lower
bound.
"""

from __future__ import annotations

import bisect
import math
from typing import Any

import msgspec

from springtide.domain.errors import ConfigError
from springtide.sim.pool.jobs import Jobs

MOST_STEPS = 60_000  # of the linear program: more take minutes


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


def fluid(jobs: Jobs, *, wait_s: float, cold_start_s: float, share: float = 1.0, step_s: float = 10.0) -> Cost:
    """Least replica seconds such that the work done lies between what must and what can be done, on steps.

    Minimise Σ step·x + cold·u with S(t) − S(t−1) <= step·x(t), u(t) >= x(t) − x(t−1), D(t) <= S(t) <= U(t); a share
    of the jobs may be taken out of D until ten times their wait. Needs scipy (HiGHS); raises ConfigError without it.
    """
    try:
        import numpy as np
        import scipy.sparse as sp
        from scipy.optimize import linprog
    except ImportError as error:
        raise ConfigError("the lower bound needs scipy: pip install scipy") from error
    at, run = np.asarray(jobs.at_s), np.asarray(jobs.run_s)
    end_s = float((at + run).max()) + 10 * wait_s + 2 * step_s
    steps = math.ceil(end_s / step_s)
    if steps > MOST_STEPS:
        raise ConfigError(f"{steps} steps are too many for the linear program (at most {MOST_STEPS}); take longer ones")
    edges = step_s * np.arange(1, steps + 1)
    can, must = _work(np, at, run, edges), _work(np, at + wait_s, run, edges)
    latest = _work(np, at + 10 * wait_s, run, edges)
    one: Any = sp.identity(steps, format="csr")
    change: Any = one - sp.eye(steps, k=-1, format="csr")
    none: Any = sp.csr_matrix((steps, steps))
    relief, whole = _relief(np, sp, at, run, wait_s=wait_s, step_s=step_s, steps=steps)
    # variables: S, x, u, E = D less what is relieved, f = share of each job that is late
    rows = sp.vstack(
        [
            sp.hstack([change, -step_s * one, none, none, sp.csr_matrix((steps, len(at)))]),
            sp.hstack([none, change, -one, none, sp.csr_matrix((steps, len(at)))]),
            sp.hstack([-one, none, none, one, sp.csr_matrix((steps, len(at)))]),
            sp.hstack([sp.csr_matrix((1, 4 * steps)), np.ones((1, len(at)))]),
        ]
    ).tocsr()
    limits = np.concatenate([np.zeros(3 * steps), [(1 - share) * len(at)]])
    equal = sp.hstack([none, none, none, change, relief]).tocsr()
    price = np.concatenate(
        [np.zeros(steps), np.full(steps, step_s), np.full(steps, cold_start_s), np.zeros(steps + len(at))]
    )
    low = np.concatenate([np.minimum(latest, can), np.zeros(2 * steps), np.full(steps, -np.inf), np.zeros(len(at))])
    high = np.concatenate([can, np.full(3 * steps, np.inf), np.ones(len(at))])
    found = linprog(
        price, A_ub=rows, b_ub=limits, A_eq=equal, b_eq=whole, bounds=np.stack([low, high], axis=1), method="highs-ipm"
    )
    if found.status != 0:
        raise ConfigError(f"the linear program was not solved: {found.message}")
    del must
    return Cost(replica_hours=float(found.fun) / 3600)


def _work(np: Any, at: Any, run: Any, edges: Any) -> Any:
    """Σ min(max(t − a, 0), s) on the edges, in O((n + t) log n)."""
    begin, end = np.sort(at), np.sort(at + run)
    begins, ends = np.concatenate([[0.0], np.cumsum(begin)]), np.concatenate([[0.0], np.cumsum(end)])
    i, j = np.searchsorted(begin, edges, "right"), np.searchsorted(end, edges, "right")
    return (i * edges - begins[i]) - (j * edges - ends[j])


def _relief(np: Any, sp: Any, at: Any, run: Any, *, wait_s: float, step_s: float, steps: int) -> tuple[Any, Any]:
    """How much of D's growth in each step is due to each job, and that growth in all."""
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for i, (at_s, run_s) in enumerate(zip(at.tolist(), run.tolist(), strict=True)):
        due_s = at_s + wait_s
        first, last = int(due_s // step_s), min(steps - 1, int((due_s + run_s) // step_s))
        for j in range(first, last + 1):
            overlap = min(due_s + run_s, (j + 1) * step_s) - max(due_s, j * step_s)
            if overlap > 1e-9:
                rows.append(j)
                columns.append(i)
                values.append(overlap)
    matrix = sp.csr_matrix((values, (rows, columns)), shape=(steps, len(at)))
    return matrix, np.asarray(matrix.sum(axis=1)).ravel()

"""How far a run of the product and a simulation of the same trace are apart: what the simulator's word is worth."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from springtide.sim.pool.outcome import Outcome

Pair = tuple[float, float]  # in life, in the simulator


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Life beside the simulator. Seconds, replicas, shares."""

    replica_s: Pair  # paid for
    attained: Pair  # share of jobs within the objective
    wait_mean_s: Pair
    wait_p50_s: Pair
    wait_p90_s: Pair
    wait_p95_s: Pair
    wait_p99_s: Pair
    waits_apart: float  # greatest difference, at any wait up to five times the objective, between the shares of jobs
    # that waited no longer (the statistic of Kolmogorov and Smirnov)
    zero_s: Pair  # with nobody there, in whole intervals of the simulator's rows
    replicas_apart: float  # mean distance between the two curves, replicas
    replicas_mean: float  # of the simulator's, to see the distance against
    curve: tuple[tuple[float, float, float], ...]  # until so many seconds: mean replicas in life, in the simulator

    @property
    def cost_apart(self) -> float:
        """As a share of what the simulator says."""
        lived, simulated = self.replica_s
        return abs(lived - simulated) / max(simulated, 1e-9)


def agreement(
    waits_s: Sequence[float], replicas: Sequence[tuple[float, int]], simulated: Outcome, *, wait_s: float
) -> Agreement:
    """waits_s: of every job in life. replicas: (second, workers there), evenly sampled from the trace's begin on."""
    ordered = sorted(waits_s)
    end_s = simulated.rows[-1].until_s
    within = [(at_s, count) for at_s, count in replicas if at_s <= end_s]
    curve: list[tuple[float, float, float]] = []
    apart, zero_s, since_s = 0.0, [0.0, 0.0], 0.0
    for row in simulated.rows:
        here = [count for at_s, count in within if since_s <= at_s < row.until_s]
        means = (sum(here) / len(here) if here else 0.0, row.replicas)
        apart += (row.until_s - since_s) * abs(means[0] - means[1])
        for side in (0, 1):
            zero_s[side] += (row.until_s - since_s) * (means[side] == 0)
        curve.append((row.until_s, *means))
        since_s = row.until_s
    step_s = within[1][0] - within[0][0]

    def lived(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Agreement(
        replica_s=(step_s * sum(count for _, count in within), simulated.replica_hours * 3600),
        attained=(sum(one <= wait_s for one in ordered) / len(ordered), simulated.attained),
        wait_mean_s=(sum(ordered) / len(ordered), simulated.wait_mean_s),
        wait_p50_s=(lived(0.5), simulated.wait_p50_s),
        wait_p90_s=(lived(0.9), simulated.wait_p90_s),
        wait_p95_s=(lived(0.95), simulated.wait_p95_s),
        wait_p99_s=(lived(0.99), simulated.wait_p99_s),
        waits_apart=max(
            abs(bisect_right(ordered, at_s) / len(ordered) - share) for at_s, share in simulated.within[1:]
        ),  # from a twentieth of the objective on: life has milliseconds where the simulator has none
        zero_s=(zero_s[0], zero_s[1]),
        replicas_apart=apart / end_s,
        replicas_mean=simulated.replica_hours * 3600 / end_s,
        curve=tuple(curve),
    )

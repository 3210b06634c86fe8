"""How far a run of the product and a simulation of the same trace are apart: what the simulator's word is worth."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from springtide.sim.pool.outcome import Outcome


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Life beside the simulator. Seconds, replicas, shares."""

    replica_s: tuple[float, float]  # paid for: in life, in the simulator
    attained: tuple[float, float]  # share of jobs within the objective
    wait_mean_s: tuple[float, float]
    wait_p95_s: tuple[float, float]
    replicas_apart: float  # mean distance between the two curves, replicas
    replicas_mean: float  # of the simulator's, to see the distance against

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
    apart, since_s = 0.0, 0.0
    for row in simulated.rows:
        here = [count for at_s, count in within if since_s <= at_s < row.until_s]
        mean = sum(here) / len(here) if here else 0.0
        apart += (row.until_s - since_s) * abs(mean - row.replicas)
        since_s = row.until_s
    step_s = within[1][0] - within[0][0]
    return Agreement(
        replica_s=(step_s * sum(count for _, count in within), simulated.replica_hours * 3600),
        attained=(sum(one <= wait_s for one in ordered) / len(ordered), simulated.attained),
        wait_mean_s=(sum(ordered) / len(ordered), simulated.wait_mean_s),
        wait_p95_s=(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], simulated.wait_p95_s),
        replicas_apart=apart / end_s,
        replicas_mean=simulated.replica_hours * 3600 / end_s,
    )

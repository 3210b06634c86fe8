"""`python -m springtide.sim`: run seeds, say which broke a promise, and show the whole story of one."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from springtide.sim.world import Outcome, Plan, simulate


def main() -> int:
    """Run the seeds that were asked for; 1 where one of them broke a promise."""
    options = _parser().parse_args()
    broken: list[int] = []
    for seed in range(options.seed, options.seed + options.seeds):
        began_s = time.perf_counter()
        plan = Plan(seed=seed, hours=options.hours, faults=not options.calm, keep_trace=options.trace is not None)
        outcome = simulate(plan)
        _tell(outcome, time.perf_counter() - began_s)
        if outcome.violations:
            broken.append(seed)
        if options.trace is not None:
            options.trace.write_text(outcome.trace)
    if broken:
        _say(f"{len(broken)} of {options.seeds} seeds broke a promise: {' '.join(map(str, broken))}")
        _say(f"read one:  python -m springtide.sim --seed {broken[0]} --hours {options.hours:g} --trace run.txt")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m springtide.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run, one after another (1)")
    parser.add_argument("--seed", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours of load and faults a seed (1)")
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--trace", type=Path, help="write what happened in the (last) run to this file")
    return parser


def _tell(outcome: Outcome, real_s: float) -> None:
    counts = outcome.counts
    ends = ", ".join(f"{value} {name[6:]}" for name, value in counts.items() if name.startswith("ended."))
    _say(
        f"seed {outcome.plan.seed}: {outcome.accepted} jobs ({ends}), {counts.get('runs', 0)} runs, "
        f"{counts.get('reaped', 0)} taken back; {outcome.simulated_s / 3600:.2f} h in {real_s:.1f} s; "
        f"{outcome.lines} lines, {outcome.digest[:16]}; {outcome.shape}"
    )
    for violation in outcome.violations[:20]:
        _say(f"  BROKEN {violation}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

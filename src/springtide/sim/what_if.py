"""The simulator as a model: `springtide simulate` for those who would rather look, behind the page What-if.

A simulation is a job like any other, so it is durable, can be cancelled, tells how far it is, waits its turn and runs
in a worker, never in the gateway (decision 0045). Numbers only: it reads arrivals and run times, and no media.

Promises what the command promises: the same policies, the same figures, the same seed gives the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import BaseModel, Field, model_validator

from springtide.domain.errors import ConfigError, InvalidInput
from springtide.engines.made import Made
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress
from springtide.engines.settings import EngineSettings, read_settings

if TYPE_CHECKING:
    from springtide.sim.pool.compare import Comparison, Objective
    from springtide.sim.pool.engine import Setup
    from springtide.sim.pool.jobs import Jobs

# As `simulate --policies` takes them; held to sim.pool.contenders by a test.
POLICY = (
    r"^((tide|queue|utilization|trisignal)|(hpa|hpa-queue|keda|kpa|ray|idle|static)-tuned|hpa|hpa-queue|keda|kpa|ray"
    r"|idle|(static|idle)-[1-9]\d{0,3})$"
)
MAX_BYTES = 64 << 20  # of a trace: some 1.5 million jobs
LINE_BYTES = 45  # of a job in a trace that `springtide trace export` wrote
JOBS_A_SECOND = 10_000  # that the simulator runs with `tide` (docs/elasticity.md)
TUNING_RUNS = 17  # at most, of the newest 25,000 jobs each
TUNING_SHARE = 0.5  # of the progress

Family = Literal[
    "tide",
    "weekly",
    "flash",
    "onoff",
    "walk",
    "silence",
    "ramp",
    "steady",
    "hourly",
    "heavy",
    "clumps",
    "short",
    "long",
]


class Input(BaseModel):
    """A trace, what is wanted, and who shall try it."""

    trace: Annotated[InputFile | None, Media("text/plain", max_bytes=MAX_BYTES)] = Field(
        default=None, description="CSV: a line for each job (arrival_s, seconds, …) or for each interval (count)."
    )
    invent: Family | None = Field(default=None, description="Or a family of traces to invent one of.")
    days: float = Field(default=1.0, gt=0, le=31, description="Length of an invented trace.")
    load: float | None = Field(
        default=None, gt=0, le=1000, description="Mean busy replicas to scale the trace to; else as it is, invented: 6."
    )
    run_s: float = Field(default=60.0, gt=0, le=86_400, description="Mean run where the trace does not tell.")
    by_model: bool = Field(default=False, description="Each model of the trace has replicas of its own.")
    policies: list[Annotated[str, Field(pattern=POLICY)]] = Field(
        default=["tide", "hpa", "kpa", "ray"], min_length=1, max_length=12, description="Who tries it, side by side."
    )
    wait_s: float = Field(default=30.0, gt=0, le=86_400, description="The objective: jobs begin within so long.")
    share: float = Field(default=0.99, ge=0.5, le=0.9999, description="The objective: this share of them.")
    cold_start_s: float = Field(default=40.0, gt=0, le=7200, description="Start of a replica until it is of use.")
    min_replicas: int = Field(default=0, ge=0, le=1000, description="Kept up by every policy.")
    max_replicas: int | None = Field(default=None, ge=1, le=10_000, description="No policy gets more.")
    tune: bool = Field(default=True, description="Also look for the cheapest settings that keep the objective.")
    settings_for: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9]*([-_.][a-z0-9]+)*$",
        max_length=64,
        description="The model that the settings are for.",
    )
    seed: int = Field(default=1, ge=0, le=2**31, description="What a trace does not tell is drawn with it.")

    @model_validator(mode="after")
    def _sense(self) -> Input:
        if (self.trace is None) == (self.invent is None):
            raise ValueError("give trace or invent, one of the two")
        if self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        return self


class PolicyFigures(BaseModel):
    """One policy on the trace."""

    policy: str
    replica_hours: float = Field(description="From launch to end, of all replicas.")
    used: float = Field(description="Share of them that worked.")
    wait_mean_s: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    attained: float = Field(description="Share of jobs that began within the objective's wait.")
    keeps: bool = Field(description="Whether that is as many as wanted.")
    peak: int = Field(description="Most replicas at once.")
    scale_events: int
    stopped_busy: int = Field(description="Busy replicas that were told to go; they finished their job here.")


class Settings(BaseModel):
    """The cheapest settings found that keep the objective, or come nearest."""

    lines: str = Field(description="For springtide.toml.")
    keeps: bool
    attained: float
    replica_hours: float
    tried: int


class Output(Made):
    """What came out, one entry for each policy, in the order in which they were asked for."""

    trace: str = Field(description="Name of the trace.")
    jobs: int = Field(description="Jobs in it.")
    span_s: float = Field(description="From its begin to the last arrival, seconds.")
    load: float = Field(description="Mean number of replicas that the work keeps busy.")
    note: str = Field(description="What was assumed in reading the trace.")
    summary: str = Field(description="What came out, in a sentence or two.")
    bound_hours: float = Field(description="Replica hours of a greedy schedule that knows the future.")
    policies: list[PolicyFigures] = Field(description="Cost and waits of each policy.")
    best: str | None = Field(description="The cheapest that keeps the objective.")
    settings: Settings | None = Field(description="The settings that won, where they were looked for.")
    curves: Annotated[OutputFile, Media("application/json")] = Field(
        description="Replicas, queue and arrivals over time, and how long jobs waited, for charts."
    )
    report: Annotated[OutputFile, Media("text/html")] = Field(description="All of it as one page.")


class _Options(EngineSettings):
    """The model's table in springtide.toml: nothing can be set."""


class WhatIf(Engine[Input, Output]):
    """Replays arrivals against scaling policies and compares cost and wait."""

    title = "What-if"
    description = "Replays a trace of arrivals against scaling policies: cost and wait side by side, and settings."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("compare", "tune")
    example: ClassVar[Mapping[str, Any]] = {"invent": "steady", "days": 0.1, "load": 2, "policies": ["tide"]}

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        read_settings(_Options, settings, engine="what-if")

    def load(self) -> None:
        """The policies and the simulator, which nobody else here needs."""
        from springtide.sim.pool import compare, report, tuning

        self._loaded = (compare, report, tuning)

    def run(self, inputs: Input, progress: Progress) -> Output:
        import time

        began_s = time.monotonic()
        try:
            comparison, settings = _simulated(inputs, progress)
        except ConfigError as error:  # of the command's words: the trace, a policy
            raise InvalidInput(error.message) from error
        best = comparison.best
        return Output(
            trace=comparison.trace,
            jobs=comparison.jobs,
            span_s=comparison.span_s,
            load=comparison.load,
            note=comparison.note,
            summary=comparison.summary,
            bound_hours=comparison.bound_hours,
            policies=_figures(comparison),
            best=None if best is None else best.policy,
            settings=settings,
            curves=_curves(comparison, progress.folder),
            report=_report(comparison, progress.folder),
            **self.made(began_s, engine="what-if"),
        )

    def estimate(self, inputs: Input) -> float:
        jobs = _jobs_about(inputs)
        tuning_jobs = min(jobs, 25_000.0) * TUNING_RUNS if inputs.tune else 0.0
        return 0.5 + (jobs * _runs(inputs) + tuning_jobs) / JOBS_A_SECOND

    def features(self, inputs: Input) -> dict[str, float]:
        return {"jobs": _jobs_about(inputs), "runs": _runs(inputs) + TUNING_RUNS * float(inputs.tune)}


def _runs(inputs: Input) -> float:
    """Of a tuned peer a dozen settings are tried."""
    return float(sum(12 if name.endswith("-tuned") else 1 for name in inputs.policies))


def _jobs_about(inputs: Input) -> float:
    if inputs.trace is not None:
        return max(1.0, inputs.trace.bytes / LINE_BYTES)
    return inputs.days * 86_400 * (inputs.load or 6.0) / inputs.run_s


def _simulated(inputs: Input, progress: Progress) -> tuple[Comparison, Settings | None]:
    """The comparison, and the settings where those are wanted. Raises ConfigError."""
    from springtide.sim.pool.compare import LEAD_IN_S, Objective, compare
    from springtide.sim.pool.engine import Setup
    from springtide.sim.pool.weather import Weather

    jobs = _jobs(inputs)
    objective = Objective(wait_s=inputs.wait_s, share=inputs.share)
    setup = Setup(
        weather=Weather(cold_start_s=inputs.cold_start_s),
        accelerators=inputs.max_replicas,
        min_replicas=inputs.min_replicas,
        seed=inputs.seed,
        lead_in_s=LEAD_IN_S,
    )
    until = 1.0 - TUNING_SHARE * inputs.tune
    order = {name: number for number, name in enumerate(inputs.policies)}

    def told(name: str, share: float) -> None:
        progress(until * (order[name] + share) / len(order), "compare")

    comparison = compare(jobs, list(order), objective, setup, told=told)
    return comparison, _tuned(inputs, (jobs, objective, setup), progress) if inputs.tune else None


def _jobs(inputs: Input) -> Jobs:
    from springtide.sim.pool.arrivals import Sizes
    from springtide.sim.pool.families import invent
    from springtide.sim.pool.traces import Reading, read_trace

    if inputs.invent is not None:
        return invent(inputs.invent, seed=inputs.seed, days=inputs.days, load=inputs.load or 6.0)
    assert inputs.trace is not None
    sizes = msgspec.structs.replace(Sizes(), mean_s=inputs.run_s)
    reading = Reading(load=inputs.load, sizes=sizes, by_model=inputs.by_model, seed=inputs.seed)
    jobs = read_trace(inputs.trace.path, reading)
    name = (inputs.trace.name or "trace").removesuffix(".csv")
    return msgspec.structs.replace(jobs, name=name)


def _tuned(inputs: Input, world: tuple[Jobs, Objective, Setup], progress: Progress) -> Settings:
    from springtide.sim.pool.tuning import tune

    tried: dict[str, None] = {}

    def told(name: str, share: float) -> None:
        tried[name] = None
        done = min(1.0, (len(tried) - 1 + share) / TUNING_RUNS)
        progress(1.0 - TUNING_SHARE * (1.0 - done), "tune")

    found = tune(*world, told=told, model=inputs.settings_for or "MODEL")
    return Settings(
        lines=found.lines,
        keeps=found.keeps,
        attained=found.attained,
        replica_hours=found.replica_hours,
        tried=found.tried,
    )


def _figures(comparison: Comparison) -> list[PolicyFigures]:
    return [
        PolicyFigures(
            policy=one.policy,
            replica_hours=one.replica_hours,
            used=one.utilization,
            wait_mean_s=one.wait_mean_s,
            wait_p50_s=one.wait_p50_s,
            wait_p95_s=one.wait_p95_s,
            wait_p99_s=one.wait_p99_s,
            attained=one.attained,
            keeps=one.attained >= comparison.share,
            peak=one.peak,
            scale_events=one.scale_events,
            stopped_busy=one.stopped_busy,
        )
        for one in comparison.outcomes
    ]


def _curves(comparison: Comparison, folder: Path) -> OutputFile:
    """{policy: {rows: [[until_s, arrivals, started, late, replicas, busy, waiting], …], within: [[s, share], …]}}"""
    told = {one.policy: {"rows": one.rows, "within": one.within} for one in comparison.outcomes}
    path = folder / "curves.json"
    path.write_bytes(msgspec.json.encode(told))
    return OutputFile(path=path, media_type="application/json", name="curves.json")


def _report(comparison: Comparison, folder: Path) -> OutputFile:
    from springtide.sim.pool.report import page

    path = folder / "report.html"
    path.write_text(page(comparison), encoding="utf-8")
    return OutputFile(path=path, media_type="text/html", name=f"what-if-{comparison.trace}.html")

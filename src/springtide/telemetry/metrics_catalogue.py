"""Every metric there is: the names live here and nowhere else, docs/reference/metrics.md is made from this.

Names follow Prometheus: `springtide_` in front, base units at the end, `_total` for what only grows, `_ratio` from 0 to
1. No label ever holds an id of a job or a client; each takes so many values at most (`Label.most`).
"""

from __future__ import annotations

from springtide.telemetry.metrics import Kind, Label, Series

GATEWAY = "gateway"
RECORD = "record keeper"  # beside the ledger: the gateway of `springtide up`, else the controller
SCALER = "scaler"  # `springtide up` itself, else the controller
WORKER = "worker"
EVERY = "every process"

MODEL = Label(name="model", meaning="the model", most=200)
POOL = Label(name="model", meaning="the model, or the pool of models that share workers", most=200)
TENANT = Label(name="tenant", meaning="the tenant", most=200)
ERROR = Label(name="error", meaning="the error's code; empty where there is none", most=100)
STATUS = Label(name="status", meaning="how the job ended: completed, failed, cancelled or expired", most=8)
ROUTE = Label(name="route", meaning="the route's template, such as /v1/jobs/{job_id}; other: there is none", most=150)

# Ends of buckets in seconds: a request takes milliseconds, a job milliseconds to an hour, a wait none to an hour.
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_JOB_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_START_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LAG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_TOGETHER = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_FACTOR = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_FRAMES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 25.0, 30.0, 60.0, 120.0, 240.0)


def _counter(name: str, help: str, teller: str, *labels: Label, most: int = 2000) -> Series:
    return Series(
        name=f"springtide_{name}_total", kind=Kind.COUNTER, help=help, teller=teller, labels=labels, most=most
    )


def _gauge(name: str, help: str, teller: str, *labels: Label) -> Series:
    return Series(name=f"springtide_{name}", kind=Kind.GAUGE, help=help, teller=teller, labels=labels)


def _histogram(name: str, help: str, teller: str, *labels: Label, buckets: tuple[float, ...]) -> Series:
    name = f"springtide_{name}"
    return Series(name=name, kind=Kind.HISTOGRAM, help=help, teller=teller, labels=labels, buckets=buckets, most=400)


# --- requests ---------------------------------------------------------------------------------------------------------

HTTP_REQUESTS = _counter(
    "http_requests",
    "Requests answered.",
    GATEWAY,
    Label(name="method", meaning="the method", most=10),
    ROUTE,
    Label(name="status", meaning="the HTTP status", most=60),
)
HTTP_SECONDS = _histogram(
    "http_request_duration_seconds",
    "From a request's head to the head of its answer.",
    GATEWAY,
    ROUTE,
    buckets=_REQUEST_S,
)
HTTP_PROBLEMS = _counter(
    "http_problems",
    "Requests refused or failed, by the code of the problem (docs/reference/errors.md).",
    GATEWAY,
    Label(name="code", meaning="the problem's code", most=150),
)
JOBS_ACCEPTED = _counter(
    "jobs_accepted", "Jobs taken in; a pipeline once, as a job of its first step's model.", GATEWAY, MODEL, TENANT
)
LIVE_CLIENTS = _gauge("live_clients", "WebSocket clients that follow jobs.", GATEWAY)
LIVE_DELAY = _histogram(
    "live_event_delay_seconds",
    "From an event of a job that is followed to its way out to clients.",
    GATEWAY,
    buckets=_LAG_S,
)
DEPENDENCY_UP = _gauge(
    "dependency_up",
    "1 where it answered when this process was scraped, else 0.",
    GATEWAY,
    Label(name="dependency", meaning="ledger or broker", most=4),
)
DISK_FREE = _gauge(
    "disk_free_ratio",
    "Share of the disk that is free, where the ledger or files lie on one of this machine.",
    GATEWAY,
    Label(name="place", meaning="ledger or blobs", most=4),
)

# --- queues and workers, as the broker knows them ---------------------------------------------------------------------

QUEUE_JOBS = _gauge("queue_jobs", "Jobs that wait, delayed retries included.", GATEWAY, MODEL)
QUEUE_RUNNING = _gauge("queue_running_jobs", "Attempts in progress.", GATEWAY, MODEL)
QUEUE_OLDEST = _gauge(
    "queue_oldest_wait_seconds", "Age of the job that has waited longest; 0: none waits.", GATEWAY, MODEL
)
QUEUE_WORK = _gauge("queue_work_seconds", "Predicted run time of what waits.", GATEWAY, MODEL)
TENANT_QUEUED = _gauge("tenant_queued_jobs", "Jobs of a tenant that wait, of all models.", GATEWAY, TENANT)
TENANT_RUNNING = _gauge("tenant_running_jobs", "Attempts of a tenant in progress, of all models.", GATEWAY, TENANT)
WORKERS = _gauge(
    "workers",
    "Workers by what they say of themselves.",
    GATEWAY,
    MODEL,
    Label(name="state", meaning="starting, ready, busy, draining, unloaded or failing", most=8),
)
_WORKER = Label(name="worker", meaning="the worker, while it lives", most=1000)
WORKER_GPU = _gauge(
    "worker_gpu_utilization_ratio", "Share of time that a worker's GPUs computed (NVML).", GATEWAY, MODEL, _WORKER
)
WORKER_GPU_MEMORY = _gauge(
    "worker_gpu_memory_ratio",
    "Share of the memory of a worker's GPUs in use, by whomever (NVML).",
    GATEWAY,
    MODEL,
    _WORKER,
)
WORKER_CPU = _gauge("worker_cpu_ratio", "Share of the processors it may use.", GATEWAY, MODEL, _WORKER)
WORKER_MEMORY = _gauge("worker_memory_ratio", "Share of the memory it may have.", GATEWAY, MODEL, _WORKER)

# --- jobs on record ---------------------------------------------------------------------------------------------------

JOBS_ENDED = _counter("jobs_ended", "Jobs that ended on record, each once.", RECORD, MODEL, STATUS, ERROR)
JOB_WAIT = _histogram(
    "job_wait_seconds", "From a job's acceptance to the start of its last attempt.", RECORD, MODEL, buckets=_JOB_S
)
JOB_RUN = _histogram(
    "job_run_seconds", "Of an attempt that completed its job, in the engine.", RECORD, MODEL, buckets=_JOB_S
)
JOB_LATENCY = _histogram("job_latency_seconds", "From a job's acceptance to its result.", RECORD, MODEL, buckets=_JOB_S)
JOB_RETRIES = _counter("job_retries", "Attempts that failed with another one due.", RECORD, MODEL, ERROR)
LEASES_EXPIRED = _counter("leases_expired", "Attempts taken back because their worker fell silent.", RECORD)
GPU_SECONDS = _counter(
    "gpu_seconds", "Seconds of workers that jobs took, all attempts: what tenants are billed.", RECORD, TENANT, MODEL
)
TENANT_ENDED = _counter(
    "tenant_jobs_ended", "The same as springtide_jobs_ended_total by tenant.", RECORD, TENANT, STATUS
)
SOUND_SECONDS = _counter("sound_seconds", "Length of the sound that completed jobs took in.", RECORD, MODEL)
REAL_TIME_FACTOR = _histogram(
    "real_time_factor", "Run time of a job divided by the length of its sound.", RECORD, MODEL, buckets=_FACTOR
)
FRAMES = _counter("frames", "Frames that completed jobs took in or made.", RECORD, MODEL)
FRAME_RATE = _histogram("frames_per_second", "Frames of a job divided by its run time.", RECORD, MODEL, buckets=_FRAMES)
RECORD_LAG = _histogram("record_lag_seconds", "From an attempt's end to its place on record.", RECORD, buckets=_LAG_S)
WEBHOOK_SENDINGS = _counter(
    "webhook_sendings",
    "Messages sent to webhooks.",
    RECORD,
    Label(name="result", meaning="delivered, retried or given_up", most=4),
    Label(
        name="reason",
        meaning="2xx, 3xx, 4xx or 5xx as answered; certificate, url_timed_out or another code where nothing was",
        most=20,
    ),
)
WEBHOOK_SECONDS = _histogram("webhook_duration_seconds", "Of one sending.", RECORD, buckets=_REQUEST_S)

# --- the fleet --------------------------------------------------------------------------------------------------------

REPLICAS = _gauge(
    "replicas",
    "Replicas as the scaler counts them.",
    SCALER,
    POOL,
    Label(name="state", meaning="idle, busy, loading, draining or failing", most=8),
)
REPLICAS_WANTED = _gauge("replicas_wanted", "Replicas that the decision in force asks for.", SCALER, POOL)
COLD_START = _histogram(
    "cold_start_seconds",
    "From the start of a worker's process to its first word that it takes jobs.",
    SCALER,
    POOL,
    buckets=_START_S,
)
COLD_START_USUAL = _gauge("cold_start_usual_seconds", "Median of the last 30 cold starts.", SCALER, POOL)
DECISIONS = _counter(
    "scaling_decisions",
    "Decisions that changed the number of replicas or the reason for it.",
    SCALER,
    POOL,
    Label(name="reason", meaning="the reason, as in docs/elasticity.md", most=32),
    Label(name="direction", meaning="out, in or none", most=4),
)
REASON = _gauge(
    "scaling_reason",
    "1 for the reason of the decision in force.",
    SCALER,
    POOL,
    Label(name="reason", meaning="the reason, as in docs/elasticity.md", most=32),
)
IDLE_SECONDS = _counter("replica_idle_seconds", "Time that replicas which were up had nothing to do.", SCALER, POOL)
BUSY_SECONDS = _counter("replica_busy_seconds", "Time that replicas had something to do.", SCALER, POOL)
RESTARTS = _counter("worker_restarts", "Workers that died and are started again.", SCALER, POOL)
OBJECTIVE_JOBS = _counter(
    "objective_jobs", "Jobs whose wait has been held against the model's objective.", SCALER, POOL
)
OBJECTIVE_LATE = _counter("objective_late_jobs", "Of those the ones that began too late.", SCALER, POOL)
OBJECTIVE_SHARE = _gauge(
    "objective_ratio",
    "The objective: this share of jobs shall begin in time ([models.NAME.scaling] share).",
    SCALER,
    POOL,
)

# --- workers ----------------------------------------------------------------------------------------------------------

BATCH_JOBS = _histogram(
    "batch_jobs",
    "Jobs that shared a run of the engine; with lanes, of each job, how many ran at once.",
    WORKER,
    MODEL,
    buckets=_TOGETHER,
)
ENGINE_STARTS = _histogram(
    "engine_start_seconds",
    "From the start of an engine's process to the loaded model.",
    WORKER,
    MODEL,
    buckets=_START_S,
)
ENGINE_DEATHS = _counter(
    "engine_deaths", "Engine processes that ended without being asked to, while loading or later.", WORKER, MODEL, ERROR
)

# --- background loops -------------------------------------------------------------------------------------------------

_LOOP = Label(name="loop", meaning="such as recorder, reaper, sweep, scaler or webhooks", most=40)
LOOP_SUCCESS = _gauge(
    "loop_last_success_timestamp_seconds", "When a background loop last came to its end.", EVERY, _LOOP
)
LOOP_FAILURES = _gauge("loop_failures", "Rounds of a background loop that failed in a row.", EVERY, _LOOP)

CATALOGUE: dict[str, Series] = {
    series.name: series for series in list(globals().values()) if isinstance(series, Series)
}

"""What the client commands do. Results go to standard output, all else to standard error; each gives its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.cli import exits, explain, retry
from springtide.cli.connecting import Where, connected, connected_or_own
from springtide.cli.following import follow, interruptible
from springtide.cli.job_tables import show_job, show_jobs, show_models, show_outputs
from springtide.cli.orders import Order, check_jobs, described
from springtide.cli.placing import place
from springtide.cli.results import as_json, check_target, line, save, say, show_result
from springtide.client import ApiError, Job, Springtide, Unreachable
from springtide.client.requests import JobRequest
from springtide.domain.errors import InvalidInput, NotFound
from springtide.domain.meant import meant

if TYPE_CHECKING:
    from springtide.config import Config

_KNOWN = Job.__struct_fields__
ACCEPTED = _KNOWN[: _KNOWN.index("priority")]  # what is known of a job that was only just accepted
ACTIVE = ("queued", "in_progress", "cancelling")


def run_job(
    where: Where,
    order: Order,
    *,
    output: Path | None,
    all_files: Path | None,
    json: bool,
    timeout_s: float | None = None,
    cancel: bool = False,
) -> int:
    """Submit, follow, save."""
    order.check()
    check_target(output)
    with connected_or_own(where, before_start=lambda config: _check_against(config, order)) as client:
        models = described(client, order)
        order.check_files()
        job = submitted(client, order.request(models))
        with interruptible(client, [job.id], cancel=cancel):
            ended = follow(client, job, timeout_s=timeout_s)
        if not ended.is_completed:
            if json:
                print(as_json(ended))
            error = ended.error
            say(f"{ended.id} {ended.status}: {error.message if error else ''}")
            return exits.JOB_FAILED
        saved = save(client, ended, output=output, all_files=all_files)
        show_result(ended, saved, json=json)
    return exits.DONE


def submit_job(where: Where, order: Order, *, json: bool) -> int:
    """Submit and print the job's id."""
    order.check()
    with connected(where) as client:
        models = described(client, order)
        order.check_files()
        job = submitted(client, order.request(models))
    print(as_json({name: getattr(job, name) for name in ACCEPTED}) if json else job.id)
    return exits.DONE


def submitted(client: Springtide, request: JobRequest) -> Job:
    """The job of a request."""
    return client.submit(
        request.model,
        request.inputs,
        then=request.then,
        priority=request.priority,
        start_deadline_s=request.start_deadline_s,
        idempotency_key=request.idempotency_key,
    )


def list_jobs(where: Where, *, model: str | None, status: Sequence[str], limit: int, json: bool) -> int:
    """The newest jobs."""
    with connected(where) as client:
        found = list(client.jobs.list(model=model, status=status, limit=limit))
    print(as_json(found)) if json else show_jobs(found)
    return exits.DONE


def get_job(where: Where, job: str, *, json: bool) -> int:
    """One job in full."""
    check_jobs([job])
    with connected(where) as client:
        found = client.jobs.get(job)
        keep_s = client.readiness().get("keep_s") if found.is_completed and not json else None
    if json:
        print(as_json(found))
        return exits.DONE
    show_job(found)
    if found.is_completed:
        show_outputs(found, keep_s=keep_s)
    return exits.DONE


def cancel_jobs(where: Where, jobs: Sequence[str], *, json: bool) -> int:
    """Ask jobs to stop and print their states."""
    check_jobs(jobs)
    code = exits.DONE
    with connected(where) as client:
        for job in jobs:
            try:
                found = client.jobs.cancel(job)
            except ApiError as error:
                say(f"{job}: {error.message}")
                code = exits.exit_code(error)
                continue
            print(_told(found, many=len(jobs) > 1, json=json))
    return code


def delete_jobs(where: Where, jobs: Sequence[str]) -> int:
    """Delete ended jobs with their results."""
    check_jobs(jobs)
    code = exits.DONE
    with connected(where) as client:
        for job in jobs:
            try:
                client.jobs.delete(job)
            except ApiError as error:
                say(f"{job}: {error.message}")
                code = exits.exit_code(error)
                continue
            print(f"{job} deleted")
    return code


def _told(job: Job, *, many: bool, json: bool) -> str:
    if not json:
        return f"{job.id} {job.status}"
    return line(job) if many else as_json(job)


def retry_jobs(where: Where, which: retry.Which, *, dry_run: bool, json: bool) -> int:
    """Ended jobs once more."""
    retry.check(which)
    with connected(where) as client:
        return retry.retry_jobs(client, which, dry_run=dry_run, json=json)


def download_files(where: Where, job: str, *, output: Path | None, all_files: Path | None, json: bool) -> int:
    """The files of a completed job; without a word where to, its first one here."""
    check_jobs([job])
    check_target(output)
    with connected(where) as client:
        found = client.jobs.get(job)
        if not found.is_completed:
            error = f": {found.error.message}" if found.error is not None else ""
            say(f"{job} {found.status}{error}" + ("" if found.has_ended else f"; first: springtide wait {job}"))
            return exits.JOB_FAILED if found.has_ended else exits.WRONG
        if not found.files:
            raise InvalidInput(f"{found.model} gave no file; `springtide get {job} --json` shows its outputs")
        if output is None and all_files is None:
            saved = [client.download(found, progress=sys.stderr.isatty())]
        else:
            saved = save(client, found, output=output, all_files=all_files)
    print(as_json([str(path) for path in saved]) if json else "\n".join(map(str, saved)))
    return exits.DONE


def explain_it(where: Where, what: str, model: str | None, *, limit: int, json: bool) -> int:
    """Why a job waits or failed, or a model's replicas are what they are."""
    explain.check(what, model)
    with connected(where) as client:
        if model is None:
            explain.explain_job(client, what, json=json)
        else:
            explain.explain_scaling(client, model, limit=limit, json=json)
    return exits.DONE


def reproduce_job(where: Where, job: str, folder: Path) -> int:
    """Write what is needed to see a job's failure again, and say how."""
    from springtide.cli.reproduce import take_out

    check_jobs([job])
    config = where.settings()
    with connected(where) as client:
        program = take_out(config, client, job, folder)
    print(f"{sys.executable} {program}")
    return exits.DONE


def list_models(where: Where, *, json: bool) -> int:
    """The models of a running server, or the configured ones."""
    found: list[dict[str, Any]]
    try:
        with connected(where) as client:
            found = msgspec.to_builtins(client.models.list())
    except Unreachable:
        if where.address:
            raise
        found = [msgspec.to_builtins(model) for model in _configured_models(where.settings())]
    print(as_json(found)) if json else show_models(found)
    return exits.DONE


def _configured_models(config: Config) -> list[Any]:
    from springtide.cli.served import served_models

    return [served.model for served in served_models(config).values()]


def _check_against(config: Config, order: Order) -> None:
    """What a server made from this configuration would refuse, before one is started for nothing."""
    for model in order.models:
        if model not in config.models:
            near = meant(model, config.models)
            asked = f" (did you mean {near}?)" if near else ""
            raise NotFound(f"there is no model {model!r}{asked}; configured are: {', '.join(config.models) or 'none'}")
    order.check_files()
    place(next(one for one in _configured_models(config) if one.name == order.model), order.files)

"""Client commands: run, submit, status, cancel, retry, models. Results go to standard output, all else to standard
error."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from springtide.cli import explain, retry
from springtide.cli.client import Api
from springtide.cli.folder import announced_url, is_taken
from springtide.cli.placing import place
from springtide.cli.steps import read_steps, then_of
from springtide.config import Config
from springtide.domain.errors import InvalidInput, NotFound, SpringtideError, Unavailable
from springtide.domain.ids import is_job_id

NEEDS_MENDING = frozenset({"engine_not_loading", "model_removed"})  # reasons to wait that time alone does not cure
OWN_SERVER_READY_S = 60.0
OWN_SERVER_STOP_S = 30.0
ROOMY = 140  # characters of a terminal that all columns of the models' table fit
_err = Console(stderr=True)
_out = Console()


class Order(msgspec.Struct, frozen=True):
    """What to run on what, as given on the command line."""

    model: str
    files: list[Path]
    inputs: list[str]  # name=value
    then: list[str] = []  # steps to do next

    def check(self) -> None:
        """What can be seen to be wrong without a server. Raises InvalidInput."""
        _check_files([*self.files, *(path for step in read_steps(self.then) for path in step.files)])
        _pairs(self.inputs)


def run_job(
    config: Config, order: Order, *, url: str | None, output: Path | None, all_files: Path | None, as_json: bool
) -> int:
    """Submit, follow, save. Returns the exit code: 0 where the job completed, else 1."""
    order.check()
    _check_target(output)
    with _server(config, url, before_start=lambda: _check_against(config, order)) as api:
        models = _described(api, order)
        job = _submit(api, models, order)
        try:
            _follow(api, job)
        except KeyboardInterrupt:
            api.post(f"/v1/jobs/{job['id']}/cancel")
            _err.print(f"cancelled {job['id']}")
            return 130
        ended = api.get(f"/v1/jobs/{job['id']}")
        if ended["status"] != "completed":
            error = ended.get("error") or {}
            if as_json:
                print(json.dumps(ended, ensure_ascii=False, indent=2))
            _err.print(f"{job['id']} {ended['status']}: {error.get('message', '')}", markup=False)
            return 1
        saved = _save(api, models[-1], ended["outputs"], output, all_files)
        _show_result(ended, saved, as_json=as_json)
    return 0


def submit_job(config: Config, order: Order, *, url: str | None, as_json: bool) -> None:
    """Submit and print the job's id."""
    order.check()
    with _running_server(config, url) as api:
        job = _submit(api, _described(api, order), order)
        print(json.dumps(job, ensure_ascii=False, indent=2) if as_json else job["id"])


def retry_jobs(config: Config, url: str | None, which: retry.Which, *, dry_run: bool) -> int:
    """Ended jobs once more. Returns the exit code."""
    retry.check(which)
    with _running_server(config, url) as api:
        return retry.retry_jobs(api, which, dry_run=dry_run)


def show_status(config: Config, url: str | None, job: str | None, *, as_json: bool) -> None:
    """One job in full, or the newest in a table."""
    if job is not None:
        _check_job(job)
    with _running_server(config, url) as api:
        found = api.get(f"/v1/jobs/{job}") if job else api.get("/v1/jobs", limit=20)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    # An id is for copying: the model of a pipeline, which may be many, and the note give way.
    table = Table(Column("job", no_wrap=True), "model", Column("status", no_wrap=True), Column("", overflow="fold"))
    for one in [found] if job else found["data"]:
        table.add_row(one["id"], one["model"], one["status"], escape(_note(one)))
    for step in (found.get("steps") or []) if job else []:
        name = f"{step['step']} {step['name']}"
        table.add_row(step["job"] or "", name, "reused" if step["reused"] else step["status"], escape(_note(step)))
    _out.print(table)


def _note(job: dict[str, Any]) -> str:
    if job.get("error"):
        return str(job["error"]["message"])
    if job.get("waiting"):
        return f"waits: {job['waiting']['message']}"
    fraction = job.get("progress")
    if fraction is None or job["status"] == "completed":
        return str(job.get("created_at", ""))
    return f"{fraction:.0%} {job.get('stage') or ''}".strip()


def cancel_job(config: Config, url: str | None, job: str, *, as_json: bool) -> None:
    """Ask a job to stop and print its state."""
    _check_job(job)
    with _running_server(config, url) as api:
        found = api.post(f"/v1/jobs/{job}/cancel")
    print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else f"{found['id']} {found['status']}")


def explain_it(config: Config, url: str | None, what: str, model: str | None, *, limit: int, as_json: bool) -> None:
    """Why a job waits or failed, or a model's replicas are what they are."""
    explain.check(what, model)
    with _running_server(config, url) as api:
        if model is None:
            explain.explain_job(api, what, as_json=as_json)
        else:
            explain.explain_scaling(api, model, limit=limit, as_json=as_json)


def reproduce_job(config: Config, url: str | None, job: str, folder: Path) -> None:
    """Write what is needed to see a job's failure again, and say how."""
    from springtide.cli.reproduce import take_out

    _check_job(job)
    with _running_server(config, url) as api:
        program = take_out(config, api, job, folder)
    print(f"{sys.executable} {program}")


def list_models(config: Config, url: str | None, *, as_json: bool) -> None:
    """The models of a running server, or the configured ones."""
    try:
        with _running_server(config, url) as api:
            found = api.get("/v1/models")["data"]
    except Unavailable:
        if url:
            raise
        found = _configured_models(config)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    # What a licence allows must never be cut off: in a narrow terminal two columns are left out, and others fold.
    whole = {"model", "licence", "commercial use"}
    names = ["model", "title", "engine", "licence", "commercial use", "takes", "gives"]
    if _out.width < ROOMY:
        names = [name for name in names if name not in {"title", "engine"}]
    table = Table(*(Column(name, no_wrap=name in whole, overflow="fold") for name in names))
    for one in found:
        shown = {
            "model": one["name"],
            "title": one["title"],
            "engine": one["engine"],
            "licence": one["license"],
            "commercial use": _commercial_use(one),
            "takes": ", ".join(_field_text(field) for field in one["input_files"]) or "-",
            "gives": ", ".join(one["output_files"]),
        }
        table.add_row(*(shown[name] for name in names))
    _out.print(table)
    for one in found:
        problem = (one.get("live") or {}).get("problem")
        if problem:
            _out.print(f"{one['name']}: its engine does not load: {problem['message']}", markup=False)


def _commercial_use(model: dict[str, Any]) -> str:
    """As a server says it, or as the configuration has it."""
    allowed = model["commercial_use"]
    return allowed if isinstance(allowed, str) else {True: "yes", False: "no"}.get(allowed, "unknown")


def _configured_models(config: Config) -> list[dict[str, Any]]:
    from springtide.cli.build import served_models

    return [msgspec.to_builtins(served.model) for served in served_models(config).values()]


def _field_text(field: dict[str, Any]) -> str:
    return f"{field['name']} ({', '.join(field['media_types'])})"


# --- inputs -----------------------------------------------------------------------------------------------------------


def _described(api: Api, order: Order) -> list[dict[str, Any]]:
    """The model of each step."""
    return [api.get(f"/v1/models/{name}") for name in (order.model, *(step.model for step in read_steps(order.then)))]


def _submit(api: Api, models: list[dict[str, Any]], order: Order) -> dict[str, Any]:
    files = place(models[0], order.files)
    then = then_of(api, read_steps(order.then), models, order.files[0] if order.files else None)
    return api.submit(order.model, _pairs(order.inputs), files, then=then)


def _check_files(files: list[Path]) -> None:
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise InvalidInput(f"no such file: {', '.join(missing)}")


def _check_against(config: Config, order: Order) -> None:
    """What a server made from this configuration would refuse, before one is started for nothing."""
    for model in (order.model, *(step.model for step in read_steps(order.then))):
        if model not in config.models:
            raise NotFound(f"there is no model {model!r}; configured are: {', '.join(config.models) or 'none'}")
    described = next(one for one in _configured_models(config) if one["name"] == order.model)
    place(described, order.files)


def _check_target(output: Path | None) -> None:
    """Before the job runs, not after."""
    if output is None:
        return
    if output.is_dir():
        raise InvalidInput(f"--output {output} is a folder; name a file in it, or use --all {output}")
    if not output.absolute().parent.is_dir():
        raise InvalidInput(f"--output {output}: there is no folder {output.absolute().parent}")


def _check_job(job: str) -> None:
    """What is no id must not become part of a URL."""
    if not is_job_id(job):
        raise InvalidInput(f"{job!r} is not a job's id; `springtide status` lists them")


def _pairs(inputs: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--input takes name=value, not {text!r}")
        pairs[name] = value
    return pairs


# --- progress and results ---------------------------------------------------------------------------------------------


def _follow(api: Api, job: dict[str, Any]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as bars:
        task = bars.add_task(f"{job['model']}: queued", total=1.0)

        def on_event(kind: str, data: dict[str, Any]) -> None:
            text = data.get("stage") or kind
            if kind == "waiting":
                text = f"queued ({data['code'].replace('_', ' ')})"
                if data["code"] in NEEDS_MENDING:
                    bars.console.print(f"{job['model']}: {data['message']}", markup=False)
            done = data.get("progress") if kind == "progress" else 1.0 if kind == "completed" else None
            bars.update(task, description=f"{job['model']}: {text}", completed=done)

        api.follow(job["id"], on_event)


def _save(
    api: Api, model: dict[str, Any], outputs: dict[str, Any], output: Path | None, all_files: Path | None
) -> list[Path]:
    files = {name: outputs[name] for name in model["output_files"] if isinstance(outputs.get(name), dict)}
    saved: list[Path] = []
    if output is not None:
        if not files:
            raise SpringtideError(f"{model['name']} gives no file to save as {output}")
        file = files[_chosen(files, output)]
        api.download(file["url"], output)
        saved.append(output)
        _warn_of_ending(output, file)
    if all_files is not None:
        all_files.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            target = all_files / (Path(file.get("name") or name).name)
            api.download(file["url"], target)
            saved.append(target)
    return saved


def _chosen(files: dict[str, Any], output: Path) -> str:
    """The output that the wanted suffix names (talk.srt: the srt), else the primary one."""
    suffix = output.suffix.lower()
    for name, file in files.items():
        if suffix and (f".{name}" == suffix or Path(file.get("name") or "").suffix.lower() == suffix):
            return name
    return next(iter(files))


def _warn_of_ending(output: Path, file: dict[str, Any]) -> None:
    """The bytes are what the engine made, whatever the name says: say so where they differ."""
    made, own = str(file["media_type"]), Path(file.get("name") or "").suffix.lower()
    suffix = output.suffix.lower()
    if not suffix or suffix == own or mimetypes.guess_type(output.name)[0] == made:
        return
    right = own or mimetypes.guess_extension(made) or ""
    advice = f"; the right name is {output.with_suffix(right).name}" if right else ""
    _err.print(f"{output.name} holds {made}, not what {suffix} says{advice}", markup=False)


def _show_result(job: dict[str, Any], saved: list[Path], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(job, ensure_ascii=False, indent=2))
        return
    outputs: dict[str, Any] = job["outputs"]
    text = outputs.get("text")
    if isinstance(text, str):
        print(text)
    elif not saved:
        print(json.dumps(outputs, ensure_ascii=False, indent=2))
    for path in saved:
        _err.print(f"saved {path}", markup=False)


# --- servers ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running_server(config: Config, url: str | None) -> Generator[Api]:
    address = (
        url or os.environ.get("SPRINGTIDE_URL") or announced_url(config.server.data_dir) or _configured_url(config)
    )
    with Api(address) as api:
        yield api


@contextlib.contextmanager
def _server(config: Config, url: str | None, *, before_start: Callable[[], None]) -> Generator[Api]:
    """The running server, or one of our own for as long as the block lasts; then `before_start` is called first."""
    with _running_server(config, url) as api:
        if api.is_alive():
            yield api
            return
        if url or os.environ.get("SPRINGTIDE_URL"):
            raise Unavailable(f"nothing answers at {api.url}")
    before_start()
    with _own_server(config) as api:
        yield api


@contextlib.contextmanager
def _own_server(config: Config) -> Generator[Api]:
    _err.print("no server is running: starting one for this job")
    env = {**os.environ, "SPRINGTIDE_SERVER__PORT": "0", "SPRINGTIDE_LOG": os.environ.get("SPRINGTIDE_LOG", "WARNING")}
    process = subprocess.Popen(
        [sys.executable, "-m", "springtide", "up", "--supervised"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with Api(_wait_for_own(config, process)) as api:
            yield api
    finally:
        process.terminate()
        try:
            process.wait(OWN_SERVER_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for_own(config: Config, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + OWN_SERVER_READY_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None and not is_taken(config.server.data_dir):  # by another command's, then ours too
            raise SpringtideError(f"the server ended with exit code {process.returncode}; the lines above say why")
        url = announced_url(config.server.data_dir)
        if url is not None:
            with Api(url) as api:
                if api.is_alive():
                    return url
        time.sleep(0.05)
    raise SpringtideError(f"the server did not answer within {OWN_SERVER_READY_S:.0f} s")


def _configured_url(config: Config) -> str:
    return f"http://{config.server.host}:{config.server.port}"

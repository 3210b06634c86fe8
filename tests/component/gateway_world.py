"""A gateway with its real parts (SQLite, broker in memory, files, inspector) and three small models, for its tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
from litestar import Litestar
from pydantic import BaseModel, Field

from springtide.blobs.files import FileBlobs
from springtide.blobs.protocol import Blobs
from springtide.broker.memory import MemoryBroker
from springtide.controller.conductor import Conductor
from springtide.controller.recorder import Recorder
from springtide.domain.ids import DEFAULT_TENANT, ModelName, WorkerId, unit_name
from springtide.domain.job import BlobRef, Job, JobError, JobStatus, Priority
from springtide.domain.lease import Completion, Failure, Lease, Progress, WorkerState
from springtide.domain.tenant import Quotas, Tenant
from springtide.egress.client import Egress
from springtide.egress.guard import EgressSettings
from springtide.engines.binding import describe
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile
from springtide.engines.synthetic.engine import Synthetic
from springtide.gateway.app import GatewayServices, GatewaySettings, ServedModel, create_app
from springtide.gateway.fronting import Fronting
from springtide.gateway.keyring import Keyring
from springtide.gateway.metering import Metering
from springtide.gateway.server import Adopt, serve
from springtide.gateway.services import Keyless
from springtide.ledger.sql import SqlLedger
from springtide.media.inspector import Inspector
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_blob_id, new_job_id

WORKER = WorkerId("w-1")


class SketchInput(BaseModel):
    picture: Annotated[InputFile, Media("image/*", max_bytes=300_000)]
    mask: Annotated[InputFile | None, Media("image/png")] = None
    strength: float = Field(0.5, ge=0, le=1)
    tags: list[str] = []


class SketchOutput(BaseModel):
    drawing: OutputFile
    preview: Annotated[OutputFile | None, Media("image/png")] = None
    layers: list[OutputFile] = []
    note: str = ""


class Sketch(Engine[SketchInput, SketchOutput]):
    title, description, license = "Sketch", "Draws <b>lines</b> & more.", "Apache-2.0"

    def load(self) -> None: ...

    def run(self, inputs: SketchInput, progress: Any) -> SketchOutput:
        raise NotImplementedError

    def estimate(self, inputs: SketchInput) -> float:
        assert inputs.picture.width is not None and inputs.picture.height is not None
        return inputs.picture.width * inputs.picture.height / 1000


class AlbumInput(BaseModel):
    pictures: Annotated[list[InputFile], Media("image/*")]


class Album(Engine[AlbumInput, SketchOutput]):
    title = "Album"

    def load(self) -> None: ...

    def run(self, inputs: AlbumInput, progress: Any) -> SketchOutput:
        raise NotImplementedError


class ListenInput(BaseModel):
    audio: Annotated[InputFile, Media("audio/*, video/*", needs_audio=True)]


class Listen(Engine[ListenInput, SketchOutput]):
    title = "Listen"

    def load(self) -> None: ...

    def run(self, inputs: ListenInput, progress: Any) -> SketchOutput:
        raise NotImplementedError


ENGINES: dict[str, type[Engine[Any, Any]]] = {
    "synthetic": Synthetic,
    "sketch": Sketch,
    "album": Album,
    "listen": Listen,
}


@dataclass
class World:
    """Everything around one gateway."""

    services: GatewayServices
    app: Litestar
    http: httpx.AsyncClient
    recorder: Recorder
    conductor: Conductor
    folder: Path

    async def submit(self, model: str = "synthetic", **inputs: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/jobs", json={"model": model, "inputs": inputs})
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def lease(self, model: str = "synthetic") -> Lease:
        """Take the next job, waiting for one."""
        broker, name, now_s = self.services.broker, ModelName(model), self.services.clock.now_s
        while True:
            leases = await broker.lease(name, WORKER, 1, now_s())
            if leases:
                return leases[0]
            await broker.wake(name, WORKER, for_work=True, wait_s=5.0)

    async def ready(self, model: str = "synthetic") -> None:
        """A worker says that it is there."""
        await self.services.broker.beat(ModelName(model), WORKER, [], WorkerState.READY, self.services.clock.now_s())

    async def does_not_load(self, model: str = "synthetic", *, failed: int = 2) -> None:
        """A worker says that its engine does not load."""
        details = {"failed_loads": failed, "load_attempts": 6}
        problem = JobError(
            code="load_failed", message="OSError: no device: '/srv/models/x'", retryable=True, details=details
        )
        now_s = self.services.clock.now_s()
        await self.services.broker.beat(ModelName(model), WORKER, [], WorkerState.FAILING, now_s, problem=problem)

    async def leftover(self, model: str, status: JobStatus = JobStatus.QUEUED) -> Job:
        """A job on record that no broker knows, accepted a minute ago."""
        is_running = status is JobStatus.IN_PROGRESS
        job = Job(
            id=new_job_id(),
            tenant=DEFAULT_TENANT,
            model=ModelName(model),
            model_version="1",
            status=status,
            inputs={},
            input_files=(),
            priority=Priority.STANDARD,
            max_attempts=3,
            timeout_s=10,
            predicted_s=1,
            created_at_s=self.services.clock.now_s() - 60,
            attempt=int(is_running),
            worker=WORKER if is_running else None,
        )
        await self.services.ledger.insert([job])
        return job

    async def progress(self, lease: Lease, fraction: float, stage: str | None = None) -> None:
        told = Progress(id=lease.id, attempt=lease.attempt, fraction=fraction, stage=stage)
        assert await self.services.broker.publish(lease.model, WORKER, [told], self.services.clock.now_s()) == [True]

    async def complete(self, lease: Lease, outputs: Mapping[str, Any], files: tuple[BlobRef, ...] = ()) -> None:
        done = Completion(id=lease.id, attempt=lease.attempt, outputs=dict(outputs), output_files=files)
        assert await self.services.broker.complete(lease.model, WORKER, [done], self.services.clock.now_s()) == [True]
        await self.record()

    async def fail(self, lease: Lease, error: JobError, *, cancelled: bool = False) -> None:
        failure = Failure(id=lease.id, attempt=lease.attempt, error=error, cancelled=cancelled)
        assert await self.services.broker.fail(lease.model, WORKER, [failure], self.services.clock.now_s()) == [True]
        await self.record()

    async def record(self) -> None:
        assert await self.recorder.record_once(wait_s=5.0)

    async def output(self, data: bytes, *, media_type: str, name: str | None = None) -> BlobRef:
        """A file as a worker leaves it."""
        blob = new_blob_id()

        async def chunks() -> AsyncGenerator[bytes]:
            yield data

        written = await self.services.blobs.put(blob, chunks(), max_bytes=len(data))
        return BlobRef(id=blob, media_type=media_type, bytes=written.bytes, sha256=written.sha256, name=name)

    def stored(self) -> list[Path]:
        """Every blob there is."""
        return [path for path in (self.folder / "blobs").rglob("blob_*") if path.is_file()]


@contextlib.asynccontextmanager
async def gateway_world(
    folder: Path,
    *,
    blobs: Blobs | None = None,
    tenants: Sequence[Tenant] = (),
    quotas: Quotas | None = None,
    engines: Mapping[str, type[Engine[Any, Any]]] = ENGINES,
    max_queued: int | None = None,
    max_replicas: int | None = None,
    egress: Egress | None = None,
    versions: Mapping[str, Sequence[str]] | None = None,
    **settings: Any,
) -> AsyncGenerator[World]:
    """A gateway on `folder`; `blobs`: a store that is not started; `versions`: those beside a model's own."""
    clock, broker = SystemClock(), MemoryBroker()
    ledger, inspector = SqlLedger(f"sqlite:///{folder}/ledger.db"), Inspector()
    keyring, metering = Keyring(ledger.keys, clock), Metering(ledger.usage, quotas or Quotas(), clock)
    blobs = FileBlobs(folder / "blobs") if blobs is None else blobs
    served = {
        ModelName(name): ServedModel(
            model=describe(ModelName(name), engine, engine_reference=name),
            engine=engine({}, folder / "weights"),
            timeout_s=60.0,
            max_attempts=3,
            max_queued=max_queued,
            max_replicas=max_replicas,
        )
        for name, engine in engines.items()
    }
    beside = {
        unit: msgspec.structs.replace(one, unit=unit, model=msgspec.structs.replace(one.model, version=version))
        for name, declared in (versions or {}).items()
        for version in declared
        for unit, one in [(unit_name(ModelName(name), version), served[ModelName(name)])]
    }
    defaults: dict[str, Any] = {"keep_alive_s": 5.0, "figures_kept_s": 0.0, "record_wait_s": 0.05}
    defaults["keyless"] = Keyless.USUAL
    defaults["explain_after_s"] = 3600.0  # who wants to be told why a job waits says so: a busy machine may let it wait
    services = GatewayServices(
        ledger=ledger,
        history=ledger.history,
        keyring=keyring,
        batches=ledger.batches,
        webhooks=ledger.webhooks,
        openai=ledger.openai,
        orders=ledger.orders,
        metering=metering,
        broker=broker,
        blobs=blobs,
        inspector=inspector,
        clock=clock,
        models=served,
        versions=beside,
        rollouts=ledger.rollouts,
        tenants={tenant.id: tenant for tenant in tenants},
        egress=egress or Egress(EgressSettings(allow=("127.0.0.1",))),
        settings=msgspec.structs.replace(GatewaySettings(), **{**defaults, **settings}),
    )
    for service in (ledger, keyring, metering, blobs, broker, inspector):
        await service.start()
    app = create_app(services)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    conductor = Conductor(broker, ledger, clock)
    told: Any = {"on_steps": conductor.nudge, "on_ends": services.ends.tell}
    recorder = Recorder(broker, ledger, [*served, *beside], clock, blobs=blobs, **told)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://media.test") as http:
            yield World(services, app, http, recorder, conductor, folder)
    finally:
        for service in (services.egress, inspector, broker, blobs, metering, keyring, ledger):
            await service.stop()


@contextlib.asynccontextmanager
async def served(
    world: World,
    *,
    silence_s: float = 30.0,
    grace_s: float = 1.0,
    fronting: Callable[[Any, Adopt], Fronting] | None = None,
) -> AsyncGenerator[tuple[str, int]]:
    """The gateway on a real socket: its address. Leaving stops it as a signal would, and waits so long for clients that
    are still there."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ready, closing = asyncio.Event(), world.services.closing
    serving = asyncio.create_task(
        serve(world.app, listener, closing, grace_s=grace_s, on_ready=ready.set, silence_s=silence_s, fronting=fronting)
    )
    await ready.wait()
    try:
        yield listener.getsockname()[:2]
    finally:
        closing.set()
        await serving


def events_of(text: str) -> list[tuple[str | None, str, dict[str, Any]]]:
    """An event stream as (id, kind, data)."""
    found: list[tuple[str | None, str, dict[str, Any]]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("id"), fields["event"], json.loads(fields["data"])))
    return found


async def soon(work: Any) -> asyncio.Task[Any]:
    """Start `work` and let it begin."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task

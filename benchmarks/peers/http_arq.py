"""The usual small service: FastAPI takes the job, arq runs it. One uvicorn process with uvloop and httptools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app_arq import WorkerSettings
from arq import create_pool
from fastapi import FastAPI
from pydantic import BaseModel


class Job(BaseModel):
    model: str
    inputs: dict[str, Any]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await create_pool(WorkerSettings.redis_settings)
    yield
    await app.state.pool.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/jobs", status_code=202)
async def submit(job: Job) -> dict[str, str]:
    queued = await app.state.pool.enqueue_job("noop")
    return {"id": queued.job_id}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}

"""The usual small service: FastAPI takes the job, Celery runs it. One uvicorn process with uvloop and httptools."""

from __future__ import annotations

from typing import Any

from app_celery import noop
from fastapi import FastAPI
from pydantic import BaseModel


class Job(BaseModel):
    model: str
    inputs: dict[str, Any]


app = FastAPI()


@app.post("/v1/jobs", status_code=202)
def submit(job: Job) -> dict[str, str]:  # Celery has no asynchronous client: FastAPI runs this in a thread
    return {"id": noop.delay().id}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}

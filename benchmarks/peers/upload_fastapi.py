"""The usual upload endpoint: FastAPI's UploadFile, copied to where it is kept. One uvicorn process with uvloop."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from fastapi import FastAPI, UploadFile

FOLDER = Path(os.environ["BENCH_FOLDER"])
app = FastAPI()


@app.post("/v1/blobs", status_code=201)
def upload(file: UploadFile) -> dict[str, str | int]:
    path = FOLDER / uuid.uuid4().hex
    with path.open("wb") as kept:
        shutil.copyfileobj(file.file, kept, 1 << 20)
    return {"id": path.name, "bytes": path.stat().st_size}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}

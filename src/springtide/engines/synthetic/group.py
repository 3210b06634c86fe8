"""A model that really needs its group: every process computes a share, rank 0 adds them up. No weights, no GPU.

The processes meet at MASTER_ADDR:MASTER_PORT and speak over sockets, so a rank that dies is noticed by the others the
way it is with NCCL or Gloo: a connection breaks. It ends as the request says, in the rank that the request names.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from springtide.engines.groups import Group, GroupEngine
from springtide.engines.protocol import InputFile, Media, OutputFile, Progress

MEET_S = 60.0  # for all ranks to be there: images are pulled at different speeds
SLICE_S = 0.05


class Outcome(StrEnum):
    """How `rank` ends."""

    OK = "ok"
    FAIL = "fail"
    CRASH = "crash"


class Input(BaseModel):
    """What to add up, and how to end."""

    upto: int = Field(default=1000, ge=0, le=100_000_000, description="The numbers from 1 to this are added.")
    prompt: str = Field(default="", description="Comes back as it is.")
    data: Annotated[InputFile | None, Media("*/*")] = Field(default=None, description="Its bytes are added, too.")
    seconds: float = Field(default=0.0, ge=0, le=3600, description="How long every rank takes.")
    steps: int = Field(default=1, ge=1, le=10_000, description="Parts it is done in; progress after each.")
    outcome: Outcome = Field(default=Outcome.OK, description="How the rank named by `rank` ends.")
    rank: int = Field(default=0, ge=0, description="Which rank ends so.")


class Output(BaseModel):
    """What came out."""

    total: int = Field(description="The sum.")
    ranks: int = Field(description="Processes that took part.")
    prompt: str = Field(description="As it was given.")
    resumed_at: int = Field(default=0, description="Steps that an earlier attempt had done.")
    shares: OutputFile = Field(description="What each rank had, a line each.")


class SyntheticGroup(GroupEngine[Input, Output]):
    """Adds numbers, a share in each process of its group, and fails or crashes in one of them as asked."""

    title = "Synthetic group"
    license = "Apache-2.0"
    commercial_use = True
    stages = ("meet", "generate", "postprocess")

    def load(self) -> None:
        self._resumed_at = 0

    def generate(self, inputs: Input, progress: Progress, group: Group) -> Any:
        progress(0.0, "meet")
        data = b"" if inputs.data is None else inputs.data.path.read_bytes()
        with _meeting(group) as lines:
            self._work(inputs, progress, group)
            share = sum(range(1 + group.rank, inputs.upto + 1, group.size)) + sum(data[group.rank :: group.size])
            if group.rank > 0:
                lines[0].sendall(f"{group.rank} {share}\n".encode())
                return None
            return {0: share} | dict(_heard(line) for line in lines)

    def postprocess(self, inputs: Input, generated: Any, progress: Progress) -> Output:
        progress(1.0, "postprocess")
        path = progress.folder / "shares.txt"
        path.write_text("".join(f"{rank} {share}\n" for rank, share in sorted(generated.items())))
        return Output(
            total=sum(generated.values()),
            ranks=len(generated),
            prompt=inputs.prompt,
            resumed_at=self._resumed_at,
            shares=OutputFile(path=path, media_type="text/plain"),
        )

    def estimate(self, inputs: Input) -> float:
        return inputs.seconds + 1.0

    def _work(self, inputs: Input, progress: Progress, group: Group) -> None:
        """Pass the time step by step; what rank 0 has done is kept for another attempt."""
        begun = 0 if progress.checkpoint is None else int(progress.checkpoint.read_text())
        self._resumed_at = begun
        for step in range(begun, inputs.steps):
            ends = time.monotonic() + inputs.seconds / inputs.steps
            while (left := ends - time.monotonic()) > 0:
                time.sleep(min(left, SLICE_S))
            progress((step + 1) / inputs.steps, "generate", checkpoint=str(step + 1).encode())
        if group.rank == inputs.rank and inputs.outcome is Outcome.FAIL:
            raise RuntimeError("failed, as the request asked")
        if group.rank == inputs.rank and inputs.outcome is Outcome.CRASH:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _meeting(group: Group) -> Generator[list[socket.socket]]:
    """Connections to all others (in rank 0), or to rank 0. Raises TimeoutError where they do not come."""
    lines: list[socket.socket] = []
    try:
        if group.rank > 0:
            lines.append(_call(group))
        elif group.size > 1:
            here = "127.0.0.1" if group.master_addr in {"127.0.0.1", "localhost"} else ""
            with socket.create_server((here, group.master_port)) as server:
                server.settimeout(MEET_S)
                while len(lines) < group.size - 1:
                    lines.append(server.accept()[0])
        yield lines
    finally:
        for line in lines:
            line.close()


def _call(group: Group) -> socket.socket:
    ends = time.monotonic() + MEET_S
    while True:
        try:
            return socket.create_connection((group.master_addr, group.master_port), timeout=MEET_S)
        except OSError:  # it is not there yet, or its name is not known yet
            if time.monotonic() > ends:
                raise
            time.sleep(SLICE_S)


def _heard(line: socket.socket) -> tuple[int, int]:
    text = b""
    line.settimeout(None)
    while not text.endswith(b"\n"):
        data = line.recv(4096)
        if not data:
            raise ConnectionError("a rank went away before it had said its share")
        text += data
    rank, share = text.split()
    return int(rank), int(share)

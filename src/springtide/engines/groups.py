"""An engine whose job several processes compute together: `execution = "distributed"` (docs/distributed.md).

    class Film(GroupEngine[Input, Output]):
        def load(self) -> None: ...                              # in every process

        def generate(self, inputs, progress, group):             # in every process, at the same time
            torch.distributed.init_process_group("nccl")         # MASTER_ADDR, RANK, WORLD_SIZE ... are set
            ...
            return frames

        def postprocess(self, inputs, generated, progress):      # in rank 0, with what its `generate` gave
            ...
            return Output(video=OutputFile(path=path, media_type="video/mp4"))

The same class runs without a group too, as a group of one: in an ordinary worker, and where `springtide models check`
tries it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from springtide.engines.protocol import Engine, InputT, OutputT, Progress

GENERATE, POSTPROCESS = "generate", "postprocess"  # stages of an engine that names none


@dataclass(frozen=True, slots=True)
class Group:
    """Which process of its group this is: what torchrun says in variables, read once."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the group's processes on this machine, or in this pod
    devices: tuple[int, ...] = ()  # numbers, among the GPUs that this process sees, of those that are its own
    master_addr: str = "127.0.0.1"  # where rank 0 listens
    master_port: int = 0


class GroupEngine(Engine[InputT, OutputT]):
    """An engine in two phases: `generate` in every process of the group, then `postprocess` in rank 0."""

    @abstractmethod
    def generate(self, inputs: InputT, progress: Progress, group: Group) -> Any:
        """This process's part. `progress` counts in rank 0 and is silent elsewhere. What a neighbour's death raises
        here (a broken connection) is taken as that: the whole group is started again as the next attempt."""

    @abstractmethod
    def postprocess(self, inputs: InputT, generated: Any, progress: Progress) -> OutputT:
        """The job's result, from what `generate` gave in rank 0."""

    def run(self, inputs: InputT, progress: Progress) -> OutputT:
        return self.postprocess(inputs, self.generate(inputs, progress, Group()), progress)

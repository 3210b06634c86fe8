"""What to run on what, as given on the command line: checked before anything is sent, then made into a request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from springtide.cli.placing import Described, place
from springtide.cli.steps import FILE, file_of, read_steps, then_of, value_of
from springtide.client import JobRequest, Priority, Springtide
from springtide.client.models import Model
from springtide.domain.errors import InvalidInput
from springtide.domain.ids import is_job_id

PRIORITIES = ("interactive", "standard", "batch")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One job to submit. inputs: name=value; then: steps to do next; key: idempotency key of the caller's own."""

    model: str
    files: list[Path] = []
    inputs: list[str] = []
    then: list[str] = []
    priority: str | None = None
    start_deadline_s: float | None = None
    key: str | None = None

    @property
    def models(self) -> list[str]:
        """The model of each step."""
        return [self.model, *(step.model for step in read_steps(self.then))]

    def check(self) -> None:
        """What can be seen to be wrong in the words themselves. Raises InvalidInput."""
        read_steps(self.then)
        pairs(self.inputs)
        if self.priority is not None and self.priority not in PRIORITIES:
            raise InvalidInput(f"--priority is one of {', '.join(PRIORITIES)}, not {self.priority!r}")

    def check_files(self) -> None:
        """Whether each is there: once the models are known, for a model that does not exist takes none. Raises
        InvalidInput."""
        steps = [path for step in read_steps(self.then) for path in step.files]
        values = [text for texts in pairs(self.inputs).values() for text in texts]
        check_files([*self.files, *steps, *(file_of(text) for text in values if text.startswith(FILE))])

    def request(self, models: Sequence[Described]) -> JobRequest:
        """The job, with each file in its field; models: what `models` names, as a server describes them."""
        many = {field.name for field in models[0].input_files if field.many}
        inputs: dict[str, Any] = {}
        for name, path in place(models[0], self.files):
            inputs[name] = [*inputs.get(name, []), path] if name in many else path
        for name, texts in pairs(self.inputs).items():
            values = [value_of(text) for text in texts]
            inputs[name] = values[0] if len(values) == 1 else values
        return JobRequest(
            model=self.model,
            inputs=inputs,
            then=then_of(read_steps(self.then), models, self.files[0] if self.files else None),
            priority=cast("Priority | None", self.priority),
            start_deadline_s=self.start_deadline_s,
            idempotency_key=self.key,
        )


def described(client: Springtide, order: Order) -> list[Model]:
    """The model of each step, as the server has it."""
    return [client.models.get(name) for name in order.models]


def pairs(inputs: Sequence[str]) -> dict[str, list[str]]:
    """`name=value` by name; one that is given several times has several."""
    found: dict[str, list[str]] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--input takes name=value, not {text!r}")
        found.setdefault(name, []).append(value)
    return found


def check_files(files: Sequence[Path]) -> None:
    """Raises InvalidInput where one is not there."""
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise InvalidInput(f"no such file: {', '.join(missing)}")


def check_jobs(jobs: Sequence[str]) -> None:
    """What is no id must not become part of a URL."""
    for job in jobs:
        if not is_job_id(job):
            raise InvalidInput(f"{job!r} is not a job's id; `springtide list` shows them")

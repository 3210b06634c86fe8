"""The later steps of a pipeline, checked before anything is accepted: everything that can be known now is said now.

An output is named by `{"$from": "field"}` (of the step before) or `{"$from": "step.field"}` (of any earlier step, by
number from 0, by its own name, or by its model's where only one step has it), as a whole input or in a list.

Promises: unknown models, steps and outputs, a file where a value belongs and the other way round, media types that can
never fit, missing inputs and wrong values are all reported at once, each with its place (`then.1.inputs.image`). What
only the run can show (a picture too large, a text too long) is left to it: the step then fails with that reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.domain.errors import InvalidInput, TooLarge
from springtide.domain.ids import BlobId, TenantId
from springtide.domain.job import BlobRef, PlanStep
from springtide.domain.model import FileField, Model
from springtide.engines.binding import bind
from springtide.engines.protocol import InputFile
from springtide.gateway.envelope import FieldErrors, NextStep
from springtide.gateway.estimates import foretold
from springtide.gateway.intake import Intake, named_blobs, take_in
from springtide.gateway.routing import Routed
from springtide.gateway.schema_kinds import value_kinds
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.policy.pipelines import FROM, accepts, source_of

_NO_FILE = InputFile(path=Path(), media_type="application/octet-stream", bytes=0)


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """A step that later ones may be fed from. `model` is None where there is no such model: that has been said."""

    name: str
    model: Model | None
    like: InputFile | None = None  # a file it takes: what it makes is thought to be as large


class Sender(msgspec.Struct, frozen=True):
    """Whose pipeline it is, and what its versions are chosen by where that is not the tenant."""

    tenant: TenantId
    key: str


class Drafted(msgspec.Struct, frozen=True):
    """The later steps, and everything that is wrong with them. Where something is, the steps are of no use."""

    steps: list[PlanStep]
    errors: FieldErrors


async def draft(
    services: GatewayServices,
    first: Earlier,
    then: Sequence[NextStep],
    *,
    fresh: Mapping[BlobId, BlobRef],
    sender: Sender,
) -> Drafted:
    """Check the steps after the first. fresh: uploads of this request, which are not on record yet."""
    steps: list[PlanStep] = []
    errors: FieldErrors = []
    earlier = [first]
    for number, asked in enumerate(then):
        loc = f"then.{number}"
        served = services.routing.find(asked.model)
        name = asked.name or asked.model or str(number + 1)
        if asked.name is not None and any(step.name == asked.name for step in earlier):
            errors.append({"loc": f"{loc}.name", "message": "an earlier step has this name", "value": asked.name})
        if served is None:
            if asked.model:
                listed = ", ".join(sorted(services.models)) or "none"
                message = f"there is no such model; served here: {listed}"
                errors.append({"loc": f"{loc}.model", "message": message, "value": asked.model[:64]})
            earlier.append(Earlier(name=name, model=None))
            continue
        routed = services.routing.route(asked.model, tenant=sender.tenant, key=sender.key)
        served = routed.served
        wiring = _Wiring(served, earlier, f"{loc}.inputs")
        wiring.read(asked.inputs)
        step, like = _step(routed, name, wiring, await _taken_in(services, served, wiring, fresh, sender.tenant))
        errors += wiring.errors
        steps.append(step)
        earlier.append(Earlier(name=name, model=served.model, like=like))
    return Drafted(steps, errors)


async def _taken_in(
    services: GatewayServices,
    served: ServedModel,
    wiring: _Wiring,
    fresh: Mapping[BlobId, BlobRef],
    tenant: TenantId,
) -> Intake | None:
    """The files that the step names by itself."""
    named = named_blobs(served, wiring.inputs) if served.model.input_files else []
    try:
        return await take_in(services, named, fresh=fresh, tenant=tenant) if named else None
    except TooLarge as error:
        wiring.report(error.details.get("errors", []))
        return None


def _step(routed: Routed, name: str, wiring: _Wiring, intake: Intake | None) -> tuple[PlanStep, InputFile | None]:
    served = routed.served
    files = {**wiring.stand_ins, **(intake.files if intake else {})}
    refs: tuple[BlobRef, ...] = tuple(intake.refs.values()) if intake else ()
    if intake:
        wiring.report(intake.errors)
    bound: BaseModel | None = None
    inputs = wiring.inputs
    try:
        bound, kept = bind(type(served.engine).Input, wiring.to_bind(), files)
        inputs = {**wiring.restored(kept), **wiring.fed_values}
    except InvalidInput as error:
        wiring.report(error.details.get("errors", []))
    told = foretold(served, bound)
    step = PlanStep(
        name=name,
        model=served.model.name,
        model_version=served.model.version,
        inputs=inputs,
        max_attempts=served.max_attempts,
        timeout_s=served.timeout_s,
        predicted_s=told.estimate_s,
        foretold=told,
        input_files=refs,
        takes=wiring.takes,
        unit=served.unit,
        is_pinned=routed.is_pinned,
    )
    return step, next(iter(files.values()), None)


class _Wiring:
    """One step's inputs, with what feeds them found and checked."""

    def __init__(self, served: ServedModel, earlier: Sequence[Earlier], loc: str) -> None:
        self._served = served
        self._earlier = earlier
        self._loc = loc
        self._fields = list(type(served.engine).Input.model_fields)
        self._wrong: set[str] = set()  # fields that have been told already
        self.errors: FieldErrors = []
        self.inputs: dict[str, Any] = {}  # every reference in its one form: {"$from": "0.cutout"}
        self.takes: dict[str, FileField] = {}
        self.stand_ins: dict[Any, InputFile] = {}
        self.fed_values: dict[str, Any] = {}  # inputs whose value, or a part of it, is not known yet

    def read(self, asked: dict[str, Any]) -> None:
        """Resolve every reference in `asked`."""
        for name, value in asked.items():
            if isinstance(value, list):
                self.inputs[name] = [self._place(name, item, in_list=True) for item in value]
            else:
                self.inputs[name] = self._place(name, value, in_list=False)
            if name not in self.takes and _is_fed(self.inputs[name]):
                self.fed_values[name] = self.inputs[name]

    def to_bind(self) -> dict[str, Any]:
        """What the engine's own model is asked about: a stand-in for each file to come, no value that is to come."""
        return {
            name: [_marked(item) for item in value] if isinstance(value, list) else _marked(value)
            for name, value in self.inputs.items()
            if name not in self.fed_values and name not in self._wrong
        }

    def restored(self, kept: dict[str, Any]) -> dict[str, Any]:
        """The bound form with references where the stand-ins were."""

        def back(value: Any) -> Any:
            if isinstance(value, list):
                return [back(item) for item in value]
            if isinstance(value, str) and value in self.stand_ins:
                return {FROM: value.removeprefix(f"{FROM}:")}
            return value

        return {name: back(value) if name in self.takes else value for name, value in kept.items()}

    def report(self, errors: FieldErrors) -> None:
        """Tell what binding or intake found, but for what is only missing because it is still to come."""
        for error in errors:
            field = str(error["loc"]).partition(".")[0]
            if field in self.fed_values or field in self._wrong or (not field and self.fed_values):
                continue
            at = ".".join(part for part in (self._loc, str(error["loc"])) if part)
            if not any(told["loc"] == at for told in self.errors):
                self.errors.append({**error, "loc": at})

    def _place(self, name: str, value: Any, *, in_list: bool) -> Any:
        if not (isinstance(value, dict) and FROM in value):
            return value
        try:
            number, field = self._resolved(value)
        except ValueError as error:
            self._refuse(name, str(error), value.get(FROM))
            return None
        reference = {FROM: f"{number}.{field}"}
        source = self._earlier[number].model
        if source is not None:
            try:
                self._connect(name, number, field, in_list=in_list)
            except ValueError as error:
                self._refuse(name, str(error), value.get(FROM))
        return reference

    def _refuse(self, name: str, message: str, value: Any) -> None:
        self._wrong.add(name)
        self.errors.append({"loc": f"{self._loc}.{name}", "message": message, "value": str(value)[:200]})

    def _resolved(self, reference: dict[str, Any]) -> tuple[int, str]:
        """Number of the step and name of its output. Raises ValueError where there is none."""
        text = reference[FROM]
        if len(reference) > 1 or not isinstance(text, str) or not text:
            raise ValueError(f'a reference is {{"{FROM}": "field"}} or {{"{FROM}": "step.field"}}, and nothing else')
        step, dot, field = text.rpartition(".")
        number = self._number(step) if dot else len(self._earlier) - 1
        model = self._earlier[number].model
        if model is not None:
            outputs = model.output_schema.get("properties", {})
            if field not in outputs:
                raise ValueError(f"step {number} ({model.name}) has no output {field!r}; it has {', '.join(outputs)}")
        return number, field

    def _number(self, step: str) -> int:
        if step.isdecimal() and len(step) < 3:
            if int(step) < len(self._earlier):
                return int(step)
            raise ValueError(f"step {step} does not come before this one; steps count from 0")
        found = [number for number, each in enumerate(self._earlier) if each.name == step]
        if len(found) > 1:
            raise ValueError(f"{len(found)} earlier steps are called {step!r}; name them, or use their numbers")
        if not found:
            known = ", ".join(f"{number} ({each.name})" for number, each in enumerate(self._earlier))
            raise ValueError(f"there is no earlier step {step!r}; there are {known}")
        return found[0]

    def _connect(self, name: str, number: int, field: str, *, in_list: bool) -> None:
        """Whether this output can ever fit this input. Raises ValueError where it cannot."""
        earlier = self._earlier[number]
        assert earlier.model is not None
        if name not in self._fields:
            raise ValueError(f"is not a field of this model; it takes {', '.join(self._fields) or 'none'}")
        takes = self._served.file_field(name)
        gives_file = field in earlier.model.output_files
        if takes is None:
            if gives_file:
                raise ValueError(f"takes a value, and {field} of step {number} ({earlier.name}) is a file")
            self._compare_kinds(name, number, field, in_list=in_list)
            return
        if not gives_file:
            raise ValueError(f"takes a file, and {field} of step {number} ({earlier.name}) is none")
        if in_list and not takes.many:
            raise ValueError("takes one file, not a list")
        types = earlier.model.output_media.get(field, ())
        if types and not any(_may_fit(takes.media_types, kind) for kind in types):
            raise ValueError(
                f"takes {', '.join(takes.media_types)}, and {field} of step {number} ({earlier.name}) is "
                f"{' or '.join(types)}"
            )
        self.takes[name] = takes
        like = earlier.like or _NO_FILE
        media_type = next((kind for kind in (*types, *takes.media_types) if "*" not in kind), like.media_type)
        self.stand_ins[_mark(f"{number}.{field}")] = like.model_copy(update={"media_type": media_type, "name": None})

    def _compare_kinds(self, name: str, number: int, field: str, *, in_list: bool) -> None:
        earlier = self._earlier[number]
        assert earlier.model is not None
        if in_list:
            return
        gives = value_kinds(earlier.model.output_schema, field)
        takes = value_kinds(self._served.model.input_schema, name)
        if not gives or not takes or gives & takes or "string" in gives:  # a text may hold anything
            return
        raise ValueError(
            f"takes {' or '.join(sorted(takes))}, and {field} of step {number} ({earlier.name}) is "
            f"{' or '.join(sorted(gives))}"
        )


def _is_fed(value: Any) -> bool:
    if isinstance(value, list):
        return any(source_of(item) for item in value)
    return source_of(value) is not None


def _mark(reference: str) -> str:
    return f"{FROM}:{reference}"


def _marked(value: Any) -> Any:
    return _mark(str(value[FROM])) if source_of(value) else value


def _may_fit(patterns: Sequence[str], given: str) -> bool:
    """Whether a file of type `given` (it may be a wildcard itself) can be one that the patterns take."""
    if given.endswith("/*"):
        return given == "*/*" or any(p == "*/*" or p.split("/")[0] == given.split("/")[0] for p in patterns)
    return accepts(patterns, given)

"""What every engine must do, as tests: subclass `EngineSuite` and name the engine and one job's inputs.

    class TestOcr(EngineSuite):
        engine = "ocr_engine:Ocr"
        inputs = {"image": HERE / "letter.png"}

The engine is run in a child process as a worker would: twice on the same inputs, cancelled, on files that are cut off,
in a batch where it takes batches, and once more. `EngineContract` alone asks only what needs no run of the model:
schemas, what importing costs, settings, estimates; for engines too heavy to run in every test.

Promises nothing about the quality of results, which only the author's own tests can judge, nor about speed.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from springtide.config import load_config
from springtide.domain.errors import ConfigError, InvalidInput
from springtide.domain.ids import ModelName
from springtide.domain.model import Model
from springtide.engines.binding import bind, describe, file_fields
from springtide.engines.catalog import AnyEngine, load_engine
from springtide.engines.made import Made
from springtide.media.probe import sniff
from springtide.testing.engine_runs import Case, Ran, Rehearsal, probed_inputs, refusal, rehearse

# Each takes a tenth of a second or ten megabytes and more, in a gateway that only wants the schemas.
HEAVY = (
    "numpy", "scipy", "pandas", "torch", "torchvision", "torchaudio", "tensorflow", "jax", "onnxruntime", "openvino",
    "cv2", "av", "ctranslate2", "faster_whisper", "transformers", "diffusers", "librosa", "skimage", "sklearn",
)  # fmt: skip
HEAD_BYTES = 4096  # of an output, to see what it is

_LIGHT = """
import json, sys
from pathlib import Path
from springtide.domain.ids import BlobId, ModelName
from springtide.engines.binding import bind, describe
from springtide.engines.catalog import load_engine
from springtide.engines.protocol import InputFile
asked = json.loads(sys.argv[1])
engine_type = load_engine(asked["engine"])
describe(ModelName("model"), engine_type, engine_reference=asked["engine"])
engine = engine_type(asked["settings"], Path(asked["weights_folder"]))
files = {BlobId(blob): InputFile.model_validate(file) for blob, file in asked["files"].items()}
inputs, _ = bind(engine_type.Input, asked["inputs"], files)
estimates = [engine.estimate(inputs) for _ in range(2)]
print(json.dumps({"estimates": estimates, "heavy": sorted(set(asked["heavy"]) & set(sys.modules))}))
"""


class EngineContract:
    """What can be asked of an engine without running its model."""

    engine: ClassVar[str]  # as in springtide.toml: an entry point or package.module:Class
    inputs: ClassVar[Mapping[str, Any]]  # of one good job; a file field holds a Path, or a list of them
    settings: ClassVar[Mapping[str, Any]] = {}
    refused_settings: ClassVar[Sequence[Mapping[str, Any]]] = ()  # each must be a ConfigError
    refused_inputs: ClassVar[Sequence[Mapping[str, Any]]] = ()  # merged over `inputs`; each must be an InvalidInput
    weights_folder: ClassVar[Path | None] = None  # the installation's own where None
    says_what_made_it: ClassVar[bool] = True  # its Output inherits engines.made.Made

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, Any]:
        """One good job's inputs: `inputs`, unless you override this to make files in `folder`."""
        return cls.inputs

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> Case:
        return Case(
            engine=cls.engine,
            inputs=cls.example(tmp_path_factory.mktemp("example")),
            settings=cls.settings,
            weights_folder=cls.weights_folder or load_config().weights_folder,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def engine_type(cls) -> type[AnyEngine]:
        return load_engine(cls.engine)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, engine_type: type[AnyEngine]) -> Model:
        return describe(ModelName("model"), engine_type, engine_reference=cls.engine)

    def test_it_says_what_it_is(self, engine_type: type[AnyEngine], model: Model) -> None:
        assert engine_type.title, "title: what a page calls it"
        assert model.description, "description, or a docstring: one sentence for who chooses a model"
        assert engine_type.license != "unknown", "license: of what results owe most to, the weights where there are any"
        assert engine_type.version, "version: changes whenever results may"
        assert len(set(engine_type.stages)) == len(engine_type.stages)

    def test_its_schemas_are_whole_and_every_field_is_described(self, model: Model) -> None:
        for schema in (model.input_schema, model.output_schema):
            problems = list(_schema_problems(schema))
            assert not problems, "\n".join(problems)

    def test_its_example_is_a_job_that_would_be_accepted(self, engine_type: type[AnyEngine], case: Case) -> None:
        inputs, files = probed_inputs(case)
        bound, kept = bind(engine_type.Input, inputs, files)
        assert isinstance(bound, engine_type.Input)
        assert json.loads(json.dumps(kept)) == kept, "inputs are kept as JSON"

    def test_inputs_it_should_refuse_are_refused(self, engine_type: type[AnyEngine], case: Case) -> None:
        inputs, files = probed_inputs(case)
        with pytest.raises(InvalidInput):
            bind(engine_type.Input, {**inputs, "no_such_field": 1}, files)
        for wrong in self.refused_inputs:
            with pytest.raises(InvalidInput):
                bind(engine_type.Input, {**inputs, **wrong}, files)

    def test_a_text_is_refused_where_media_is_wanted(
        self, engine_type: type[AnyEngine], case: Case, tmp_path: Path
    ) -> None:
        text = tmp_path / "notes.jpg"
        text.write_text("Milk, eggs, bread.\n" * 40)
        for field in file_fields(engine_type.Input):
            if not {"*/*", "text/*", "text/plain"} & set(field.media_types):
                assert refusal(text, case, field.name), f"{field.name}: say Media(...) with the types it takes"

    def test_importing_it_and_asking_its_estimate_is_cheap_and_needs_no_file(self, case: Case) -> None:
        inputs, files = probed_inputs(case)
        asked = {
            "engine": case.engine,
            "settings": dict(case.settings),
            "weights_folder": "no-such-folder",
            "inputs": inputs,
            "files": {blob: file.model_dump(mode="json") for blob, file in files.items()},
            "heavy": HEAVY,
        }
        done = subprocess.run(
            [sys.executable, "-c", _LIGHT, json.dumps(asked)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["heavy"] == [], "import these inside load() and run(): the gateway imports this module too"
        one, two = said["estimates"]
        assert math.isfinite(one)
        assert one >= 0
        assert one == two, "the same inputs take as long the second time they are asked about"

    def test_wrong_settings_are_a_config_error(self, engine_type: type[AnyEngine], case: Case) -> None:
        engine_type(case.settings, case.weights_folder)
        for wrong in self.refused_settings:
            with pytest.raises(ConfigError):
                engine_type({**case.settings, **wrong}, case.weights_folder)

    def test_missing_weights_are_said_to_be_missing(self, engine_type: type[AnyEngine], tmp_path: Path) -> None:
        if engine_type.weights:
            with pytest.raises(ConfigError, match="models pull"):
                engine_type(self.settings, tmp_path).load()

    def test_its_output_says_what_made_it(self, engine_type: type[AnyEngine]) -> None:
        if self.says_what_made_it:
            assert issubclass(engine_type.Output, Made), "class Output(Made), see engines.made"


class EngineSuite(EngineContract):
    """The whole contract: what is above, and what shows when the engine runs."""

    @pytest.fixture(scope="class")
    @classmethod
    def rehearsal(cls, case: Case, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
        return rehearse(case, tmp_path_factory.mktemp("engine"))

    def test_it_runs_and_gives_its_output(self, rehearsal: Rehearsal) -> None:
        assert _outputs(rehearsal.first)

    def test_the_same_inputs_give_a_result_twice_of_the_same_shape(self, rehearsal: Rehearsal) -> None:
        first, second = _outputs(rehearsal.first), _outputs(rehearsal.second)
        assert first.keys() == second.keys()
        assert {name: len(made) for name, made in rehearsal.first.files.items()} == {
            name: len(made) for name, made in rehearsal.second.files.items()
        }

    def test_progress_goes_forward_through_its_stages(self, rehearsal: Rehearsal, engine_type: type[AnyEngine]) -> None:
        fractions = [fraction for fraction, _ in rehearsal.first.told]
        assert fractions, "call progress(fraction, stage): that is also where a cancel is heard"
        assert fractions == sorted(fractions)
        told = [stage for stage in dict.fromkeys(stage for _, stage in rehearsal.first.told) if stage is not None]
        assert told == [stage for stage in engine_type.stages if stage in told], "stages: all of them, in their order"

    def test_its_files_are_what_it_says_they_are(self, rehearsal: Rehearsal, model: Model) -> None:
        assert set(rehearsal.first.files) <= set(model.output_files)
        for name, made in rehearsal.first.files.items():
            for file in made:
                path = Path(file.path)
                assert path.stat().st_size > 0, f"{name}: empty"
                with path.open("rb") as opened:
                    seen = sniff(opened.read(HEAD_BYTES))
                assert seen in (None, file.media_type), f"{name}: it is {seen}, not {file.media_type}"
                taken = model.output_media.get(name, ("*/*",))
                assert any(_fits(file.media_type, one) for one in taken), f"{name}: not among its Media types"

    def test_what_made_the_result_is_told(self, rehearsal: Rehearsal, engine_type: type[AnyEngine]) -> None:
        if self.says_what_made_it:
            output = _outputs(rehearsal.first)
            made = {name: output[name] for name in Made.model_fields}
            assert all(made[name] for name in ("engine", "model", "version", "license")), made
            assert made["version"] == engine_type.version
            assert made["generative"] is engine_type.generative
            assert 0 <= made["seconds"] <= rehearsal.first.ending.run_s + 0.01

    def test_a_cancel_takes_effect(self, rehearsal: Rehearsal) -> None:
        """It stops at its next progress(); or it had no more to say when the cancel came, and was done."""
        first, cancelled = rehearsal.first, rehearsal.cancelled
        assert cancelled.ending.error is None, cancelled.ending.error
        said_all = bool(cancelled.told) and cancelled.told[-1][0] >= first.told[-1][0]
        assert cancelled.ending.cancelled or said_all, "it went on after a cancel: let Cancelled pass"

    def test_a_file_that_is_cut_off_is_the_callers_fault(self, rehearsal: Rehearsal) -> None:
        """Or the engine copes. Never a crash, never an error that names nothing."""
        for name, ran in rehearsal.broken.items():
            error = ran.ending.error
            assert error is None or error.code not in ("engine_failed", "crashed", "out_of_memory"), (
                f"{name}: {error.code}: {error.message}. Open it with springtide.media, or raise BadMedia"
            )
            assert ran.pid == rehearsal.second.pid, f"{name}: its process died"

    def test_a_batch_gives_each_job_its_own_result(self, rehearsal: Rehearsal) -> None:
        for ran in rehearsal.together:
            assert _outputs(ran)

    def test_it_still_works_afterwards_and_leaves_nothing_behind(self, rehearsal: Rehearsal) -> None:
        second, last = rehearsal.second, rehearsal.last
        assert _outputs(last)
        if last.pid != second.pid:
            return  # what did not heed its cancel for seconds was killed, and started anew
        assert last.threads <= second.threads, "threads that are never joined"
        assert last.open_files <= second.open_files, "files that are never closed"
        assert last.children <= second.children, "processes that are never ended"


def _outputs(ran: Ran) -> dict[str, Any]:
    error = ran.ending.error
    assert error is None, f"{error.code}: {error.message}"
    assert ran.ending.outputs is not None
    return ran.ending.outputs


def _fits(media_type: str, wanted: str) -> bool:
    return wanted in ("*/*", media_type) or (wanted.endswith("/*") and media_type.startswith(wanted[:-1]))


def _schema_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """What a page that draws a form from the schema, or shows a result by it, would stumble over."""
    defined: Mapping[str, Any] = schema.get("$defs", {})
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name, field in properties.items():
        target = defined.get(str(field.get("$ref", "")).removeprefix("#/$defs/"), {})
        if not (field.get("description") or target.get("description")):
            yield f"{name}: no description; write Field(description=...)"
    for name in schema.get("required", []):
        if name not in properties:
            yield f"{name}: required, and no property"
    for reference in _references(schema):
        if reference.removeprefix("#/$defs/") not in defined:
            yield f"{reference} leads nowhere"


def _references(node: Any) -> Iterator[str]:
    """All of them, however deep."""
    if isinstance(node, list):
        for inner in node:
            yield from _references(inner)
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner
            else:
                yield from _references(inner)

"""The files of the Helm chart that are made from code: its values, their schema, and what templates need to know of
defaults, rights and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from springtide.config import Config, ModelConfig, ServerConfig, WorkersConfig
from springtide.config.groups import GroupConfig
from springtide.config.kubernetes import KubernetesConfig
from springtide.deploy.pods import rules
from springtide.deploy.scaling import adapter_config
from springtide.deploy.yaml_text import to_yaml
from springtide.fleet.rights import CONTROLLER, GANG, GANG_KINDS, Right

CHART = Path(__file__).parents[1] / "deploy" / "chart"
HEAD = """# Values of the Helm chart: springtide.toml as YAML. Made by `python docs/generate.py` from the code.
#   springtide deploy values -f springtide.toml > values.yaml
#   helm install springtide deploy/chart --namespace springtide --create-namespace -f values.yaml
# Beside `models` every section of the file may stand here (docs/reference/configuration.md).

# The models to serve, as [models.NAME] in the file: matting: {engine: matting, accelerators: 1, max_replicas: 8}
models: {}
# Models that share workers, as [workers.NAME].
workers: {}

"""
MODEL_KEYS = ("timeout_s", "grace_s", "load_timeout_s", "load_attempts", "min_replicas", "max_replicas", "accelerators")
MODEL_KEYS += ("execution",)
GROUP_KEYS = ("processes", "gpus_each", "cpus_each", "runs_as", "runtime", "volcano_queue")
POOL_KEYS = ("min_replicas", "max_replicas", "accelerators")


def files() -> dict[Path, str]:
    """Each file and what it should hold."""
    return {
        CHART / "values.yaml": HEAD + "\n".join(_section("kubernetes", KubernetesConfig(), "")) + "\n",
        CHART / "values.schema.json": json.dumps(_schema(), indent=1) + "\n",
        CHART / "templates" / "_made.tpl": _made(),
        CHART / "files" / "prometheus-adapter.yaml": to_yaml(adapter_config()),
    }


def _section(name: str, given: BaseModel, indent: str) -> Iterator[str]:
    kind = type(given)
    yield f"{indent}{name}:"
    inner = f"{indent}  "
    tables: list[tuple[str, BaseModel]] = []
    for key, field in kind.model_fields.items():
        value = getattr(given, key)
        if isinstance(value, BaseModel):
            tables.append((key, value))
            continue
        if key == "namespace":
            continue  # Helm's own
        yield f"{inner}# {field.description}"
        yield from (f"{inner}{line}" for line in to_yaml({key: value}).splitlines())
    for key, value in tables:
        yield ""
        yield f"{inner}# {' '.join((type(value).__doc__ or '').split())}"
        yield from _section(key, value, inner)


def _schema() -> dict[str, Any]:
    schema = Config.model_json_schema()
    schema["title"] = "Values of Springtide's chart"
    schema["properties"]["global"] = {"type": "object"}
    return schema


def _made() -> str:
    def defaults(kind: type[BaseModel], keys: tuple[str, ...]) -> str:
        return to_yaml({key: kind.model_fields[key].default for key in keys})

    parts = {
        "modelDefaults": defaults(ModelConfig, MODEL_KEYS),
        "poolDefaults": defaults(WorkersConfig, POOL_KEYS),
        "groupDefaults": defaults(GroupConfig, GROUP_KEYS),
        "serverDefaults": defaults(ServerConfig, ("max_upload_mb",)),
        "rules": _rules(CONTROLLER),
        **{f"{kind}Rules": _rules([right]) for kind, right in GANG_KINDS.items()},
        "gangRules": _rules(GANG),
    }
    texts = [f'{{{{- define "springtide.{name}" -}}}}\n{_flush(text)}{{{{- end -}}}}\n' for name, text in parts.items()]
    return "{{/* Made by `python docs/generate.py` from the code. */}}\n\n" + "\n".join(texts)


def _rules(rights: Iterable[Right]) -> str:
    return to_yaml({"rules": rules(rights)}).removeprefix("rules:\n")


def _flush(text: str) -> str:
    lines = text.splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[margin:] for line in lines) + "\n"


def write() -> None:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

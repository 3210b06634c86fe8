"""Writes what is made from code: `python docs/generate.py`. The reference, springtide.example.toml, the synchronous
client, the Helm chart's values."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from springtide.config import (
    BlobsConfig,
    BrokerConfig,
    Config,
    EgressConfig,
    LedgerConfig,
    ModelConfig,
    ScalingConfig,
    ServerConfig,
    TenantConfig,
    TenantDefaults,
    WebhooksConfig,
    WorkersConfig,
)
from springtide.config.groups import GroupConfig
from springtide.config.kubernetes import (
    ControlConfig,
    HpaConfig,
    HttpRouteConfig,
    ImagesConfig,
    IngressConfig,
    KedaConfig,
    KubernetesConfig,
    ModelPodConfig,
    NetworkConfig,
    QuotaConfig,
    SecretsConfig,
    TrialConfig,
    WeightsConfig,
    WorkerPodConfig,
)
from springtide.config.sections import FloorConfig, OpenAiConfig, ProvenanceConfig, RetryConfig
from springtide.config.telemetry import TelemetryConfig
from springtide.deploy.toml_text import to_value

PAGE = Path(__file__).parent / "reference" / "configuration.md"
EXAMPLE = Path(__file__).parents[1] / "springtide.example.toml"
OPENAPI = Path(__file__).parents[1] / "web" / "openapi.json"
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("server", ServerConfig),
    ("broker", BrokerConfig),
    ("ledger", LedgerConfig),
    ("blobs", BlobsConfig),
    ("egress", EgressConfig),
    ("webhooks", WebhooksConfig),
    ("provenance", ProvenanceConfig),
    ("models.NAME", ModelConfig),
    ("models.NAME.group", GroupConfig),
    ("models.NAME.retry", RetryConfig),
    ("models.NAME.scaling", ScalingConfig),
    ("models.NAME.scaling.schedule", FloorConfig),
    ("workers.NAME", WorkersConfig),
    ("tenant_defaults", TenantDefaults),
    ("tenants.NAME", TenantConfig),
    ("openai", OpenAiConfig),
    ("telemetry", TelemetryConfig),
    ("kubernetes", KubernetesConfig),
    ("kubernetes.images", ImagesConfig),
    ("kubernetes.gateway", ControlConfig),
    ("kubernetes.controller", ControlConfig),
    ("kubernetes.worker", WorkerPodConfig),
    ("kubernetes.models.NAME", ModelPodConfig),
    ("kubernetes.weights", WeightsConfig),
    ("kubernetes.secrets", SecretsConfig),
    ("kubernetes.trial", TrialConfig),
    ("kubernetes.ingress", IngressConfig),
    ("kubernetes.http_route", HttpRouteConfig),
    ("kubernetes.network", NetworkConfig),
    ("kubernetes.quota", QuotaConfig),
    ("kubernetes.keda", KedaConfig),
    ("kubernetes.hpa", HpaConfig),
]
HEAD = """# Configuration

One file, `springtide.toml`, is read from `--config`, else `$SPRINGTIDE_CONFIG`, else the current folder. Without one,
the defaults serve the models of `springtide.example.toml`. A variable overrides the file:
`SPRINGTIDE_SERVER__PORT=9000` is `[server] port = 9000`: two underscores, one alone is refused.
All problems are told at once. This page is made from the code
by `python docs/generate.py`.
"""


def render() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for name, section in SECTIONS:
        parts.append(f"\n## [{name}]\n\n{(section.__doc__ or '').strip()}\n\n| key | default | allowed | meaning |")
        parts.append("|---|---|---|---|")
        for key, field in section.model_fields.items():
            parts.append(f"| `{key}` | {_default(field)} | {_allowed(field)} | {field.description} |")
    return "\n".join(parts) + "\n"


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "`{}`"
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default is None else f"`{field.default}`"


def _allowed(field: Any) -> str:
    words = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}
    bounds = [
        f"{sign} {getattr(rule, name.lower())}"
        for rule in field.metadata
        for name, sign in words.items()
        if type(rule).__name__ == name
    ]
    return ", ".join(bounds) or "any"


def render_example() -> str:
    """A file that says nothing but the defaults, with what each means."""
    models = Config.model_fields["models"].get_default(call_default_factory=True)
    parts = ["# Every setting with its default. Copy what you change into springtide.toml; the rest may be left out."]
    for name, section in (one for one in SECTIONS if "NAME" not in one[0]):
        parts += ["", f"[{name}]", *_lines(section(), section)]
    for name, model in models.items():
        parts += ["", f"[models.{name}]", *_lines(model, ModelConfig)]
    last = next(reversed(models))
    tables = {
        f"models.{last}.group": GroupConfig(),
        f"models.{last}.retry": RetryConfig(),
        f"models.{last}.scaling": ScalingConfig(),
        "workers.shared": WorkersConfig(models=["matting", "speech"], memory_mb=4096),
        "tenant_defaults": TenantDefaults(),
        "tenants.default": TenantConfig(),
    }
    for name, value in tables.items():
        lines = _lines(value, type(value))
        parts += ["", f"# [{name}]", *(line if line.startswith("#") else f"# {line}" for line in lines)]
    return "\n".join(parts) + "\n"


def _lines(values: BaseModel, section: type[BaseModel]) -> list[str]:
    lines: list[str] = []
    for key, field in section.model_fields.items():
        value = getattr(values, key)
        if isinstance(value, BaseModel):
            continue  # a table of its own
        if key == "versions":
            value = None  # tables of its own, too, which a value here would forbid
        if isinstance(value, Path):
            value = str(field.default)
        shown = f"# {key} = ..." if value is None else f"{key} = {to_value(value)}"
        lines.append(f"{shown}  # {field.description}")
    return lines


def render_openapi() -> str:
    """The OpenAPI document without models: what the web page's types are made from."""
    from springtide.domain.tenant import Quotas
    from springtide.gateway.app import GatewayServices, create_app
    from springtide.gateway.metering import Metering
    from springtide.gateway.openapi import complete
    from springtide.runtime.clock import SystemClock

    required = {each.name: None for each in fields(GatewayServices) if each.default is each.default_factory is MISSING}
    clock = SystemClock()
    own = {"models": {}, "clock": clock, "metering": Metering(None, Quotas(), clock)}
    services: Any = GatewayServices(**{**required, **own})  # type: ignore[arg-type] - no route is called
    document = complete(create_app(services).openapi_schema.to_schema(), [])
    return json.dumps(document, default=str, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    import chart_files  # beside this file
    import cli_page
    import life_page
    import metrics_page
    import monitoring_files
    import sync_client

    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render())
    EXAMPLE.write_text(render_example())
    OPENAPI.write_text(render_openapi())
    metrics_page.PAGE.write_text(metrics_page.render())
    monitoring_files.write()
    sync_client.write()
    chart_files.write()
    cli_page.write()
    life_page.write()

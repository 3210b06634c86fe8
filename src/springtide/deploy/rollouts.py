"""A rollout at the edge: the same weights as HTTP routes of the cluster, for servers of one's own behind a mesh.

Springtide's jobs need none of this: they are parted where they enter. It is for what is called past it, such as a model
server whose versions have a Service each. Weights are whole numbers out of 10,000, as no route takes fractions.
"""

from __future__ import annotations

from collections.abc import Mapping

from springtide.config.kubernetes import RouteConfig
from springtide.deploy.installation import Installation, Object
from springtide.domain.errors import ConfigError
from springtide.fleet import labels

WHOLE = 10_000


def objects(to: Installation) -> list[Object]:
    """Of the weights in the file, by model."""
    return [configured(to, model, given, given.weights) for model, given in to.settings.routes.items()]


def configured(to: Installation, model: str, given: RouteConfig, weights: Mapping[str, float]) -> Object:
    """The object of [kubernetes.routes.NAME], with the weights of the file or with those of now: the same one."""
    if given.gateway:
        one = http_route(model, given.gateway, given.services, weights, given.port)
    else:
        one = virtual_service(model, given.host, given.services, weights)
    return {**one, "metadata": to.metadata(labels.object_name(to.name, "route", model), labels.WORKER)}


def http_route(name: str, gateway: str, services: Mapping[str, str], weights: Mapping[str, float], port: int) -> Object:
    """An HTTPRoute of the Gateway API. services: the Service of each version; weights: per cent, by version."""
    parts = _parts(services, weights)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": gateway}],
            "rules": [
                {
                    "backendRefs": [
                        {"name": services[version], "port": port, "weight": part} for version, part in parts.items()
                    ]
                }
            ],
        },
    }


def virtual_service(name: str, host: str, services: Mapping[str, str], weights: Mapping[str, float]) -> Object:
    """The same for Istio. host: by which callers know the model."""
    parts = _parts(services, weights)
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {
            "hosts": [host],
            "http": [
                {
                    "route": [
                        {"destination": {"host": services[version]}, "weight": part} for version, part in parts.items()
                    ]
                }
            ],
        },
    }


def _parts(services: Mapping[str, str], weights: Mapping[str, float]) -> dict[str, int]:
    """Of WHOLE, what each version gets; the last one gets what rounding leaves. Raises ConfigError."""
    if missing := [version for version, weight in weights.items() if weight > 0 and version not in services]:
        raise ConfigError(f"name the Service of version {', '.join(missing)}: --service VERSION=NAME")
    shown = sorted(version for version in weights if version in services)
    parts = {version: round(weights[version] * WHOLE / 100) for version in shown}
    parts[shown[-1]] += WHOLE - sum(parts.values())
    return parts

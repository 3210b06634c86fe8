"""The way in: an Ingress or an HTTPRoute, with room for uploads and patience for streams."""

from __future__ import annotations

from springtide.deploy.installation import Installation, Object
from springtide.fleet import labels

STREAM_S = 3600  # an event stream is quiet for as long as a job computes; the gateway itself says something every 15 s
BODY_MARGIN_MB = 16  # a form's other fields beside the largest file


def objects(to: Installation) -> list[Object]:
    found: list[Object] = []
    if to.settings.ingress.enabled:
        found.append(_ingress(to))
    if to.settings.http_route.enabled:
        found.append(http_route(to))
    return found


def _ingress(to: Installation) -> Object:
    given = to.settings.ingress
    body_mb = to.config.server.max_upload_mb + BODY_MARGIN_MB
    notes = {
        "nginx.ingress.kubernetes.io/proxy-body-size": f"{body_mb}m",
        "nginx.ingress.kubernetes.io/proxy-buffering": "off",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": str(STREAM_S),
        "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
        "nginx.ingress.kubernetes.io/proxy-send-timeout": str(STREAM_S),
        **given.annotations,
    }
    backend = {"service": {"name": to.named(labels.GATEWAY), "port": {"name": "http"}}}
    host = {"host": given.host} if given.host else {}
    tls = [{**({"hosts": [given.host]} if given.host else {}), "secretName": given.tls_secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": to.metadata(to.named(labels.GATEWAY), labels.GATEWAY, annotations=notes),
        "spec": {
            "ingressClassName": given.class_name,
            **({"tls": tls} if given.tls_secret else {}),
            "rules": [{**host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }


def http_route(to: Installation) -> Object:
    given = to.settings.http_route
    parent: Object = {"name": given.gateway}
    if given.gateway_namespace:
        parent["namespace"] = given.gateway_namespace
    if given.section:
        parent["sectionName"] = given.section
    rule: Object = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": to.named(labels.GATEWAY), "port": 80}],
        "timeouts": {"request": "0s"},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": to.metadata(to.named(labels.GATEWAY), labels.GATEWAY),
        "spec": {
            "parentRefs": [parent],
            **({"hostnames": given.hosts} if given.hosts else {}),
            "rules": [rule],
        },
    }

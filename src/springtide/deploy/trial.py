"""Single servers for a trial: Valkey, PostgreSQL, MinIO. Each is one pod with one disk: what is on it is as safe as
that disk. For more, name your own servers in [kubernetes.secrets]."""

from __future__ import annotations

from springtide.deploy import pods
from springtide.deploy.installation import Installation, Object
from springtide.fleet import labels

FOLDER = "/data"


def objects(to: Installation) -> list[Object]:
    given = to.settings.trial
    found: list[Object] = []
    if given.redis:
        found += _server(to, "redis", 6379, _redis(to))
    if given.postgres:
        found += _server(to, "postgres", 5432, _postgres(to))
    if given.s3:
        found += _server(to, "s3", 9000, _s3(to))
    return found


def _redis(to: Installation) -> Object:
    command = (
        "exec valkey-server --dir /data --appendonly yes --appendfsync everysec --maxmemory-policy noeviction "
        '--requirepass "$TRIAL_PASSWORD"'
    )
    return {
        "image": to.settings.trial.redis_image,
        "command": ["sh", "-c", command],
        "readinessProbe": _answers(["sh", "-c", 'REDISCLI_AUTH="$TRIAL_PASSWORD" valkey-cli ping | grep -q PONG']),
    }


def _postgres(to: Installation) -> Object:
    return {
        "image": to.settings.trial.postgres_image,
        "env": [
            pods.variable("POSTGRES_USER", "springtide"),
            pods.variable("POSTGRES_DB", "springtide"),
            pods.variable("POSTGRES_PASSWORD", "$(TRIAL_PASSWORD)"),
            pods.variable("PGDATA", f"{FOLDER}/pgdata"),
        ],
        "readinessProbe": _answers(["pg_isready", "-U", "springtide", "-d", "springtide", "-h", "127.0.0.1"]),
    }


def _s3(to: Installation) -> Object:
    return {
        "image": to.settings.trial.s3_image,
        "command": ["sh", "-c", f"mkdir -p {FOLDER}/springtide && exec minio server {FOLDER} --address :9000"],
        "env": [
            pods.variable("MINIO_ROOT_USER", "springtide"),
            pods.variable("MINIO_ROOT_PASSWORD", "$(TRIAL_PASSWORD)"),
        ],
        "readinessProbe": {
            "httpGet": {"path": "/minio/health/ready", "port": "s3"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }


def _answers(command: list[str]) -> Object:
    return {"exec": {"command": command}, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3}


def _server(to: Installation, part: str, port: int, container: Object) -> list[Object]:
    name, selector = to.named(part), labels.selector(to.name, part)
    own = container.pop("env", [])
    full: Object = {
        "name": part,
        "imagePullPolicy": to.settings.images.pull_policy,
        **container,
        "env": [pods.from_secret("TRIAL_PASSWORD", to.settings.secrets.trial_password), *own],
        "ports": [{"name": part, "containerPort": port, "protocol": "TCP"}],
        "securityContext": pods.container_security(),
        "resources": {
            "requests": {"cpu": "100m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *([{"name": "run", "mountPath": "/var/run/postgresql"}] if part == "postgres" else []),
        ],
    }
    ports = [{"name": part, "port": port, "targetPort": part, "protocol": "TCP"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": to.metadata(name, part),
            "spec": {"type": "ClusterIP", "selector": selector, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": to.metadata(name, part),
            "spec": {
                "replicas": 1,
                "serviceName": name,
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": {**selector, labels.PART_OF: labels.APP_NAME}},
                    "spec": _pod(to, full),
                },
                "volumeClaimTemplates": [_claim(to, selector)],
            },
        },
    ]


def _pod(to: Installation, container: Object) -> Object:
    scratch: list[Object] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    if container["name"] == "postgres":
        scratch.append({"name": "run", "emptyDir": {"sizeLimit": "16Mi"}})
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        **pods.pull_secrets(to),
        "securityContext": pods.pod_security(),
        "containers": [container],
        "volumes": scratch,
    }


def _claim(to: Installation, selector: dict[str, str]) -> Object:
    given = to.settings.trial
    return {
        "metadata": {"name": "data", "labels": selector},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **pods.some(storageClassName=given.storage_class),
            "resources": {"requests": {"storage": given.storage}},
        },
    }

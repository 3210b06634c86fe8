"""How model files come to a worker: an init container fills a cache from the first source that gives them.

The share is mounted in the init container alone: a share that hangs can hold up no worker that has started.
"""

from __future__ import annotations

from springtide.deploy import pods
from springtide.deploy.installation import Installation, Object, WorkerGroup

SHARE_FOLDER = "/share"


def init_container(to: Installation, group: WorkerGroup) -> Object:
    """`springtide models stage`: copies what is missing, checks every file, falls back."""
    weights = to.settings.weights
    args = ["models", "stage", *group.members]
    mounts = [*pods.mounts(), {"name": "weights", "mountPath": pods.WEIGHTS_FOLDER}]
    if weights.image or weights.claim:
        args += ["--share", SHARE_FOLDER, "--share-timeout", str(weights.share_timeout_s)]
        mounts.append({"name": "share", "mountPath": SHARE_FOLDER, "readOnly": True})
    if weights.url:
        args += ["--url", weights.url]
    if not weights.pull:
        args.append("--no-pull")
    return {
        "name": "weights",
        "image": group.image,
        "imagePullPolicy": to.settings.images.pull_policy,
        "args": args,
        "env": pods.environment(to, broker=False, ledger=False),
        "securityContext": pods.container_security(),
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": "2Gi"},
        },
        "volumeMounts": mounts,
    }


def volumes(to: Installation, *, copies: bool) -> list[Object]:
    """The cache, and the share where there is one, for a pod that copies from it."""
    weights = to.settings.weights
    if weights.cache == "node":
        cache: Object = {"hostPath": {"path": weights.cache_path, "type": "Directory"}}
    else:
        cache = {"emptyDir": {"sizeLimit": weights.cache_size}}
    found = [{"name": "weights", **cache}]
    if not copies:
        return found
    if weights.image:
        source = {"reference": weights.image, "pullPolicy": to.settings.images.pull_policy}
        found.append({"name": "share", "image": source})
    elif weights.claim:
        found.append({"name": "share", "persistentVolumeClaim": {"claimName": weights.claim, "readOnly": True}})
    return found

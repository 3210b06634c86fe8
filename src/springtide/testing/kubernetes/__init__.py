"""A Kubernetes API server for tests: real HTTP on loopback, stateful, faithful where clients depend on it.

    async with kubernetes_double() as cluster:
        cluster.create(deployment)                       # any object, by its kind
        config = cluster.kubeconfig(tmp_path / "config") # lightkube, kubectl, anything
        cluster.cluster.next_pods = "loading"            # how its pods fare
        cluster.fail(code=429, retry_after_s=1, verb="patch")
        await cluster.kill(); await cluster.start()      # same port, same objects

It serves: create, get, list (label and field selectors, limit and continue), replace, delete, deletecollection; merge,
strategic and JSON patch; server-side apply with owners and conflicts; dry run; /status and /scale; resourceVersions as
preconditions (409); watches with bookmarks, ends and 410; finalizers, owner references; Deployments that have pods.

It does not: discovery, defaults (but of replicas), admission, validation beyond a few rules, authentication
(authorization: `rights`), ReplicaSets, rolling updates. A thing that works here and not in a cluster is a fault of this
package.
"""

from springtide.testing.kubernetes.cluster import COST, NO_GPU, Cluster
from springtide.testing.kubernetes.double import (
    Fault,
    KubernetesDouble,
    ThreadedDouble,
    kubernetes_double,
    threaded_double,
)
from springtide.testing.kubernetes.fields import Object
from springtide.testing.kubernetes.kinds import PYTORCH_JOB, SCALED_OBJECT, TRAIN_JOB, Kind

__all__ = [
    "COST",
    "NO_GPU",
    "PYTORCH_JOB",
    "SCALED_OBJECT",
    "TRAIN_JOB",
    "Cluster",
    "Fault",
    "Kind",
    "KubernetesDouble",
    "Object",
    "ThreadedDouble",
    "kubernetes_double",
    "threaded_double",
]

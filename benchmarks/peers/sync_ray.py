"""Ray Serve: one replica behind its proxy. `python sync_ray.py PORT`."""

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class NoOp:
    async def __call__(self, request: Request) -> dict:
        await request.json()
        return {"result": 1}


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(NoOp.bind(), route_prefix="/predict")
    signal.pause()

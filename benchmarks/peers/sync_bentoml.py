"""BentoML: one worker, an API that does nothing. `python -m bentoml serve sync_bentoml:NoOp --port PORT`."""

import bentoml


@bentoml.service(workers=1)
class NoOp:
    @bentoml.api
    def predict(self, model: str, inputs: dict) -> dict:
        return {"result": 1}

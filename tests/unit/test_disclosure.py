"""What a client may see of an error: how it ended, never where on the server."""

from __future__ import annotations

import pytest

from springtide.domain.job import JobError
from springtide.gateway.disclosure import disclosed, without_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such file: '/var/lib/springtide/job 7/in.png'", "no such file: 'in.png'"),
        ('File "/opt/app/engine.py", line 7', 'File "engine.py", line 7'),
        ("cannot open /srv/models/a.onnx: broken", "cannot open a.onnx: broken"),
        ("/srv/models/a.onnx,/srv/models/b.onnx", "a.onnx,b.onnx"),
        ("path=/srv/scratch/out0/", "path="),
        ("file:///srv/scratch/in.wav is cut short", "in.wav is cut short"),
        ("an image/png, 3/4 done, and/or https://media.example.org/a/b.png?x=/y", None),
        ("s3://bucket/a/b and video/mp4", None),
        ("the engine's process was ended by SIGSEGV", None),
        ("a / b", None),
    ],
)
def test_absolute_paths_are_cut_to_their_last_component(text: str, shown: str | None) -> None:
    assert without_paths(text) == (text if shown is None else shown)


def test_details_are_cut_too_and_last_words_left_out() -> None:
    error = JobError(
        code="crashed",
        message="ended by SIGSEGV in /opt/lib/libfast.so",
        retryable=True,
        details={
            "signal": "SIGSEGV",
            "stderr": 'File "/opt/app/engine.py", line 7\n    secret()',
            "errors": [{"loc": "file", "message": "/srv/x/in.png is odd", "traceback": "secret()"}],
            "used_mb": 7,
        },
    )
    shown = disclosed(error)
    assert (shown.code, shown.message, shown.retryable) == ("crashed", "ended by SIGSEGV in libfast.so", True)
    assert shown.details == {
        "signal": "SIGSEGV",
        "errors": [{"loc": "file", "message": "in.png is odd"}],
        "used_mb": 7,
    }

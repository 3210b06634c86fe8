"""A form that is read part by part."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

from springtide.gateway.multipart import MultipartReader

FORM = (
    b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n'
    b'--limit\r\nContent-Disposition: form-data; name="note"\r\n\r\nworld\r\n--limit--\r\n'
)


async def chunks() -> AsyncIterator[bytes]:
    for at in range(0, len(FORM), 7):
        yield FORM[at : at + 7]


async def read() -> list[tuple[str, bytes]]:
    reader = MultipartReader(chunks(), b"limit")
    found: list[tuple[str, bytes]] = []
    while (part := await reader.next_part()) is not None:
        found.append((part.name, b"".join([data async for data in reader.data()])))
    return found


async def test_a_form_that_was_read_leaves_nothing_for_the_collector() -> None:
    """The reader of an upload is freed with it, not when enough others came."""
    assert await read() == [("file", b"hello"), ("note", b"world")]
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await read()
        assert gc.collect() < 10, "objects of ten forms; a reader that its parser knows makes thirty of each"
    finally:
        gc.enable()

"""The S3 store keeps the blob contract on a real server, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import obstore
import pytest

from springtide.blobs.s3 import S3Blobs
from springtide.blobs.s3_place import S3Keys
from springtide.blobs.s3_tree import S3Tree
from springtide.blobs.s3_unfinished import abort_unfinished
from springtide.domain.errors import ConfigError, NotFound, Unavailable
from springtide.domain.ids import BlobId
from springtide.runtime.ids import new_blob_id
from springtide.testing.blobs_suite import MIB, NO_LIMIT, BlobsSuite, read_all, stream
from springtide.testing.proxy import FaultProxy
from springtide.testing.s3 import KEY, SECRET, S3Server, s3_server

KEYS = S3Keys(access_key_id=KEY, secret_access_key=SECRET)
_prefixes = count(1)


@pytest.fixture
def prefix() -> str:
    return f"tests/{next(_prefixes)}"


@pytest.fixture
async def store(s3: S3Server, prefix: str) -> S3Blobs:
    store = S3Blobs(s3.url(prefix), keys=KEYS)
    await store.start()
    return store


class TestS3Blobs(BlobsSuite):
    @pytest.fixture
    async def blobs(self, s3: S3Server, store: S3Blobs, prefix: str) -> AsyncIterator[S3Blobs]:
        yield store
        await store.stop()
        assert unfinished(s3, prefix) == 0


def unfinished(server: S3Server, prefix: str) -> int:
    """Multipart uploads that were begun and neither completed nor aborted."""
    return server.ask("GET", "?uploads").count(f"<Key>{prefix}/".encode())


def keys_of(server: S3Server, prefix: str) -> list[str]:
    return [key for key in server.objects() if key.startswith(f"{prefix}/")]


async def test_a_start_leaves_nothing_in_the_bucket(s3: S3Server, store: S3Blobs, prefix: str) -> None:
    assert keys_of(s3, prefix) == []


async def test_a_key_is_the_prefix_a_fan_out_and_the_id(s3: S3Server, store: S3Blobs, prefix: str) -> None:
    blob = new_blob_id()
    await store.put(blob, stream(b"x"), max_bytes=10)
    assert keys_of(s3, prefix) == [f"{prefix}/{blob[-2:]}/{blob}"]
    await store.delete(blob)
    assert keys_of(s3, prefix) == []


async def test_a_bucket_may_be_used_without_a_prefix(s3: S3Server) -> None:
    store = S3Blobs(s3.url(), keys=KEYS)
    await store.start()
    blob = new_blob_id()
    await store.put(blob, stream(b"x"), max_bytes=10)
    assert f"{blob[-2:]}/{blob}" in s3.objects()
    await store.delete(blob)


async def test_a_large_blob_goes_in_by_parts_and_comes_out_the_same(store: S3Blobs, tmp_path: Path) -> None:
    content = bytes(range(256)) * (23 * 4096) + b"the end"
    blob, from_file = new_blob_id(), new_blob_id()
    await store.put(
        blob, stream(*[content[at : at + 70_001] for at in range(0, len(content), 70_001)]), max_bytes=NO_LIMIT
    )
    (tmp_path / "large").write_bytes(content)
    written = await store.put_file(from_file, tmp_path / "large")
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    for each in (blob, from_file):
        assert await read_all(store, each) == content
        assert (await store.fetch(each, tmp_path, expected=written)).read_bytes() == content
    assert await read_all(store, blob, start=4 * MIB - 1, end=12 * MIB + 1) == content[4 * MIB - 1 : 12 * MIB + 1]


async def test_keys_come_from_the_usual_variables_and_files(
    s3: S3Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    file = tmp_path / "credentials"
    file.write_text(f"[media]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        patch.setenv("AWS_PROFILE", "media")
        await S3Blobs(s3.url(prefix)).start()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        await S3Blobs(s3.url(prefix)).start()


async def test_without_any_keys_the_start_says_how_to_give_them(
    s3: S3Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="access_key_id"):
        await S3Blobs(s3.url(prefix)).start()


@pytest.mark.parametrize(
    ("keys", "bucket", "told"),
    [
        (S3Keys(access_key_id="nobody", secret_access_key=SECRET), None, "access key"),
        (S3Keys(access_key_id=KEY, secret_access_key="wrong"), None, "access key"),
        (KEYS, "missing-bucket", "no bucket 'missing-bucket'"),
    ],
)
async def test_wrong_settings_are_told_at_the_start_and_no_secret_with_them(
    s3: S3Server, keys: S3Keys, bucket: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        await S3Blobs(s3.url(bucket=bucket), keys=keys).start()
    assert keys.secret_access_key not in f"{error.value} {error.value.__cause__} {keys!r}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:secret@bucket/media", "must not hold keys"),
        ("s3:///media", "s3://bucket"),
        ("s3://Bucket/media", "s3://bucket"),
        ("s3://bucket/media?endpoint=minio:9000", "http://host:port"),
        ("s3://bucket/media?endpoint=http://key:secret@minio:9000", "http://host:port"),
        ("s3://bucket/media?secret=x", "unknown secret"),
        ("s3://bucket/../media", "prefix"),
        ("s3://bucket/a b", "prefix"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused_without_showing_keys(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        S3Blobs(url, keys=KEYS)
    assert "key:secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("s3://media?region=eu-central-1", "https://media.s3.eu-central-1.amazonaws.com"),
        ("s3://my.media/a?region=eu-central-1", "https://s3.eu-central-1.amazonaws.com/my.media"),
        ("s3://media/a?endpoint=https://minio.example.org:9000/", "https://minio.example.org:9000/media"),
    ],
)
def test_the_bucket_is_a_host_name_at_amazon_and_a_path_elsewhere(
    url: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert S3Blobs(url, keys=KEYS).place.base == base


async def test_a_server_that_is_down_is_unavailable_and_used_again_once_it_is_back(prefix: str) -> None:
    with s3_server() as server:
        store = S3Blobs(server.url(prefix), keys=KEYS)
        await store.start()
        blob = new_blob_id()
        await store.put(blob, stream(b"kept"), max_bytes=10)
        server.kill()
        with pytest.raises(Unavailable, match="blob store"):
            await store.put(new_blob_id(), stream(b"x"), max_bytes=10)
        with pytest.raises(Unavailable):
            await read_all(store, blob)
        with pytest.raises(Unavailable):
            await S3Blobs(server.url(prefix), keys=KEYS).start()
        server.start()
        assert await read_all(store, blob) == b"kept"


async def test_a_short_outage_is_not_noticed(s3: S3Server, prefix: str) -> None:
    with FaultProxy(("127.0.0.1", s3.port)) as line:
        store = S3Blobs(s3.url(prefix, port=line.port), keys=KEYS)
        await store.start()
        line.cut()
        blob = new_blob_id()
        put = asyncio.ensure_future(store.put(blob, stream(b"x" * 1000), max_bytes=NO_LIMIT))
        done, _ = await asyncio.wait([put], timeout=0.05)
        assert not done
        line.mend()
        assert (await put).bytes == 1000


async def test_a_line_cut_in_the_middle_of_an_upload_leaves_no_object(s3: S3Server, prefix: str) -> None:
    with FaultProxy(("127.0.0.1", s3.port)) as line:
        store = S3Blobs(s3.url(prefix, port=line.port), keys=KEYS)

        async def chunks() -> AsyncIterator[bytes]:
            for number in range(30):
                if number == 12:
                    line.cut()
                yield b"x" * MIB

        blob = new_blob_id()
        with pytest.raises(Unavailable):
            await store.put(blob, chunks(), max_bytes=NO_LIMIT)
        assert keys_of(s3, prefix) == []


async def test_a_cancelled_upload_by_parts_is_aborted(s3: S3Server, store: S3Blobs, prefix: str) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(13):
            yield b"x" * MIB
        reached.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put(new_blob_id(), endless(), max_bytes=NO_LIMIT))
    await reached.wait()
    assert unfinished(s3, prefix) == 1
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert unfinished(s3, prefix) == 0


async def test_bytes_that_changed_in_the_store_are_not_handed_to_an_engine(
    s3: S3Server, store: S3Blobs, prefix: str, tmp_path: Path
) -> None:
    blob = new_blob_id()
    written = await store.put(blob, stream(b"what was stored"), max_bytes=100)
    s3.ask("PUT", f"{prefix}/{blob[-2:]}/{blob}", b"what was chang!")
    with pytest.raises(Unavailable, match="other bytes"):
        await store.fetch(BlobId(blob), tmp_path, expected=written)


async def test_what_a_crash_left_in_the_bucket_is_removed_after_its_time(
    s3: S3Server, store: S3Blobs, prefix: str
) -> None:
    for number in range(3):
        s3.ask("POST", f"{prefix}/0{number}/blob_left?uploads")
    s3.ask("POST", f"{prefix}-of-others/00/blob_left?uploads")
    s3.ask("PUT", f"{prefix}/incoming/blob_left", b"a client's, never completed")
    kept = new_blob_id()
    await store.put(kept, stream(b"kept"), max_bytes=10)
    assert await store.remove_leftovers(before_s=time.time() - 60) == 0
    assert unfinished(s3, prefix) == 3
    assert await store.remove_leftovers(before_s=time.time() + 60) == 4
    assert unfinished(s3, prefix) == 0
    assert unfinished(s3, f"{prefix}-of-others") == 1
    assert keys_of(s3, prefix) == [f"{prefix}/{kept[-2:]}/{kept}"]


async def test_leftovers_of_a_store_that_is_down_are_unavailable_and_show_no_signature(prefix: str) -> None:
    with s3_server() as server:
        store = S3Blobs(server.url(prefix), keys=KEYS)
        place, keys = store.place, await store._credentials.frozen()
    with pytest.raises(Unavailable) as error:
        await abort_unfinished(place, keys, 0.0)
    assert "Signature" not in f"{error.value} {error.value.__cause__}"


def test_plain_files_of_a_bucket_are_read_by_their_paths(s3: S3Server, prefix: str) -> None:
    """What `springtide models stage --url` reads: model files that somebody put there."""
    tree = S3Tree(s3.url(prefix), keys=KEYS)
    obstore.put(tree._store, f"{prefix}/isnet/net.onnx", b"weights" * 1_000_000)
    assert b"".join(tree.read("isnet/net.onnx")) == b"weights" * 1_000_000
    with pytest.raises(NotFound):
        list(tree.read("isnet/none.onnx"))

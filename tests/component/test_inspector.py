"""The inspector with real child processes: whatever a file does to its decoder, the asker lives on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from springtide.domain.errors import BadMedia, NotFound, TooLarge, Unavailable
from springtide.domain.model import FileField
from springtide.media.inspector import Inspector
from springtide.media.probe import probe
from springtide.testing import media_makers as makers

PICTURE = FileField(
    name="image", media_types=("image/*",), required=True, many=False, max_bytes=1 << 20, max_pixels=50_000_000
)
SOUND = FileField(
    name="audio", media_types=("audio/*", "video/*"), required=True, many=False, max_bytes=1 << 20, needs_audio=True
)

# The real child with a decoder that obeys the file's text: what a hostile file would make of a real one.
OBEDIENT = """
    import ctypes, os, sys, time
    from springtide.domain.errors import BadMedia
    from springtide.media import inspector_main
    from springtide.media.probe import Probe

    def obey(path, field):
        order = path.read_text()
        if order == "crash":
            ctypes.string_at(0)
        if order == "crash once":
            path.write_text("ok")
            os.abort()
        if order == "exit":
            os._exit(3)
        if order == "hang":
            while True:
                time.sleep(1)
        if order == "eat":
            hoard = []
            while True:
                hoard.append(bytearray(64 << 20))
        if order == "bug":
            raise RuntimeError("a bug of ours")
        if order == "print":
            os.write(1, b"remark of a library")
        return Probe(media_type="text/" + str(os.getpid()))

    if LIMITED:
        inspector_main.probe = obey
        inspector_main.main()
    else:
        inspector_main.serve(0, os.dup(1), obey)
"""


def obedient(*, limited: bool = False) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(OBEDIENT).replace("LIMITED", str(limited)))


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    service = Inspector()
    await service.start()
    yield service
    await service.stop()
    assert service.pids == []


@pytest.fixture
async def stand_in() -> AsyncIterator[Inspector]:
    service = Inspector(command=obedient())
    yield service
    await service.stop()


def order(folder: Path, text: str) -> Path:
    path = folder / f"{text}.order"
    path.write_text(text)
    return path


async def test_it_sees_what_probe_sees(inspector: Inspector, tmp_path: Path) -> None:
    for make, field in ((makers.palette_png, PICTURE), (makers.rotated_jpeg, PICTURE), (makers.mono_8k_wav, SOUND)):
        path = make(tmp_path)
        assert await inspector.inspect(path, field) == probe(path, field)


async def test_every_bad_file_is_refused_with_its_code_by_one_child(inspector: Inspector, tmp_path: Path) -> None:
    pids: set[int] = set()
    for cases, field in ((makers.BAD_PICTURES, PICTURE), (makers.BAD_SOUNDS, SOUND)):
        for make, code in cases.values():
            with pytest.raises(BadMedia) as caught:
                await inspector.inspect(make(tmp_path), field)
            assert caught.value.code == code
            pids.update(inspector.pids)
    assert len(pids) == 1


async def test_details_come_back_whole(inspector: Inspector, tmp_path: Path) -> None:
    with pytest.raises(BadMedia) as caught:
        await inspector.inspect(makers.bomb_png(tmp_path), PICTURE)
    assert caught.value.details == {"width": 30_000, "height": 30_000, "max_pixels": 50_000_000}
    large = tmp_path / "large"
    large.write_bytes(bytes(PICTURE.max_bytes + 1))
    with pytest.raises(TooLarge) as too_large:
        await inspector.inspect(large, PICTURE)
    assert too_large.value.details == {"bytes": (1 << 20) + 1, "max_bytes": 1 << 20}


async def test_a_bomb_does_not_take_the_memory(inspector: Inspector, tmp_path: Path) -> None:
    """Also where the field sets no limit on pixels: the child has one on memory."""
    boundless = FileField(name="image", media_types=("image/*",), required=True, many=False, max_bytes=1 << 30)
    with pytest.raises(BadMedia) as caught:
        await inspector.inspect(makers.huge_header_webp(tmp_path), boundless)
    assert caught.value.code == "broken_media"
    seen = await inspector.inspect(makers.bomb_png(tmp_path), boundless)
    assert (seen.width, seen.height) == (30_000, 30_000)
    assert psutil.Process(inspector.pids[0]).memory_info().rss < 200 << 20


async def test_a_file_that_is_not_there_is_not_found(inspector: Inspector, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await inspector.inspect(tmp_path / "gone", PICTURE)


@pytest.mark.parametrize(("text", "how"), [("crash", "SIGSEGV"), ("exit", "exit status 3")])
async def test_a_crash_is_bad_media_for_that_file_and_the_next_one_works(
    stand_in: Inspector, tmp_path: Path, text: str, how: str
) -> None:
    for is_warm in (False, True):
        with pytest.raises(BadMedia, match=how) as caught:
            await stand_in.inspect(order(tmp_path, text), PICTURE)
        assert caught.value.code == "broken_media"
        assert (await stand_in.inspect(order(tmp_path, "ok"), PICTURE)).media_type.startswith("text/")
        assert len(stand_in.pids) == 1, is_warm


async def test_a_child_that_died_while_idle_is_no_fault_of_the_file(stand_in: Inspector, tmp_path: Path) -> None:
    await stand_in.inspect(order(tmp_path, "ok"), PICTURE)
    (pid,) = stand_in.pids
    os.kill(pid, signal.SIGKILL)
    assert await stand_in.inspect(order(tmp_path, "ok"), PICTURE)
    assert await stand_in.inspect(order(tmp_path, "crash once"), PICTURE)
    assert pid not in stand_in.pids


async def test_a_hang_is_cut(tmp_path: Path) -> None:
    service = Inspector(timeout_s=0.2, command=obedient())
    with pytest.raises(BadMedia, match=r"within 0\.2 s") as caught:
        await service.inspect(order(tmp_path, "hang"), PICTURE)
    assert caught.value.code == "broken_media"
    service._timeout_s = 60.0  # what is well may take its time on a busy machine
    assert await service.inspect(order(tmp_path, "ok"), PICTURE)
    await service.stop()


async def test_a_file_that_eats_memory_is_bad_media_and_the_child_stays(tmp_path: Path) -> None:
    service = Inspector(command=obedient(limited=True))
    first = await service.inspect(order(tmp_path, "ok"), PICTURE)
    with pytest.raises(BadMedia, match="memory") as caught:
        await service.inspect(order(tmp_path, "eat"), PICTURE)
    assert caught.value.code == "broken_media"
    assert await service.inspect(order(tmp_path, "ok"), PICTURE) == first
    assert await service.inspect(order(tmp_path, "print"), PICTURE) == first
    await service.stop()


async def test_a_bug_of_ours_is_not_blamed_on_the_file(stand_in: Inspector, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="a bug of ours"):
        await stand_in.inspect(order(tmp_path, "bug"), PICTURE)


async def test_a_child_that_talks_nonsense_is_replaced(tmp_path: Path) -> None:
    service = Inspector(command=obedient())
    with pytest.raises(BadMedia):  # without its own limits the child prints into the frames
        await service.inspect(order(tmp_path, "print"), PICTURE)
    assert await service.inspect(order(tmp_path, "ok"), PICTURE)
    await service.stop()


async def test_a_child_that_does_not_start_is_unavailable_and_not_the_files_fault(tmp_path: Path) -> None:
    for command in (("/nowhere/python",), (sys.executable, "-c", "raise SystemExit(7)")):
        service = Inspector(command=command)
        with pytest.raises(Unavailable):
            await service.inspect(makers.palette_png(tmp_path), PICTURE)
        await service.stop()


async def test_many_at_once_share_two_children(stand_in: Inspector, tmp_path: Path) -> None:
    path = order(tmp_path, "ok")
    seen = await asyncio.gather(*(stand_in.inspect(path, PICTURE) for _ in range(20)))
    assert len(stand_in.pids) == 2
    assert {one.media_type for one in seen} <= {f"text/{pid}" for pid in stand_in.pids}


async def test_one_after_another_need_one_child(stand_in: Inspector, tmp_path: Path) -> None:
    for _ in range(5):
        await stand_in.inspect(order(tmp_path, "ok"), PICTURE)
    assert len(stand_in.pids) == 1


async def test_a_child_without_work_is_ended(tmp_path: Path) -> None:
    service = Inspector(idle_s=0.05, command=obedient())
    await service.inspect(order(tmp_path, "ok"), PICTURE)
    (pid,) = service.pids
    await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)], 30)
    assert not psutil.pid_exists(pid)
    assert service.pids == []
    await service.inspect(order(tmp_path, "ok"), PICTURE)
    await service.stop()


async def test_an_asker_that_gives_up_leaves_no_child_half_asked(stand_in: Inspector, tmp_path: Path) -> None:
    asking = asyncio.create_task(stand_in.inspect(order(tmp_path, "hang"), PICTURE))
    while not stand_in.pids:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert stand_in.pids == []
    assert await stand_in.inspect(order(tmp_path, "ok"), PICTURE)


async def test_stopping_ends_children_at_work(tmp_path: Path) -> None:
    service = Inspector(command=obedient())
    asking = asyncio.create_task(service.inspect(order(tmp_path, "hang"), PICTURE))
    while not service.pids:
        await asyncio.sleep(0)
    (pid,) = service.pids
    await service.stop()
    with pytest.raises(Unavailable):
        await asking
    assert not psutil.pid_exists(pid)


async def test_stopping_while_a_child_starts_leaves_none(tmp_path: Path) -> None:
    service = Inspector(command=obedient())
    asking = [asyncio.create_task(service.inspect(order(tmp_path, "ok"), PICTURE)) for _ in range(4)]
    await asyncio.sleep(0)
    await service.stop()
    for one in asking:
        with pytest.raises(Unavailable):
            await one
    assert service.pids == []
    with pytest.raises(Unavailable):
        await service.inspect(order(tmp_path, "ok"), PICTURE)
    assert not [child for child in psutil.Process().children() if "inspector_main" in " ".join(child.cmdline())]


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from springtide.domain.model import FileField
        from springtide.media.inspector import Inspector

        async def main():
            inspector = Inspector()
            field = FileField(name="f", media_types=("image/*",), required=True, many=False, max_bytes=1 << 20)
            await inspector.inspect(Path(sys.argv[1]), field)
            print(inspector.pids[0], flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    picture = makers.palette_png(tmp_path)
    parent = subprocess.Popen(  # noqa: ASYNC220 - a moment, in a test of its own
        [sys.executable, "-c", textwrap.dedent(script), str(picture)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    try:
        child = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.communicate()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [child], 30)
    assert gone


async def test_the_child_gets_no_secrets(monkeypatch: pytest.MonkeyPatch, inspector: Inspector, tmp_path: Path) -> None:
    monkeypatch.setenv("SPRINGTIDE_LEDGER__URL", "postgresql://user:secret@db/x")
    await inspector.inspect(makers.palette_png(tmp_path), PICTURE)
    assert not any(name.startswith("SPRINGTIDE") for name in psutil.Process(inspector.pids[0]).environ())

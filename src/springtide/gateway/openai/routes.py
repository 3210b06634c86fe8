"""Every route of OpenAI's that is answered here."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from springtide.gateway.openai import routes_audio, routes_batches, routes_files, routes_images, routes_videos

ROUTES: list[HTTPRouteHandler] = [
    routes_audio.transcribe,
    routes_audio.translate,
    routes_audio.speak,
    routes_images.edit,
    routes_images.generate,
    routes_images.vary,
    routes_videos.create,
    routes_videos.list_videos,
    routes_videos.retrieve,
    routes_videos.remove,
    routes_videos.content,
    routes_files.upload,
    routes_files.list_files,
    routes_files.retrieve,
    routes_files.content,
    routes_files.remove,
    routes_batches.create,
    routes_batches.list_batches,
    routes_batches.retrieve,
    routes_batches.cancel,
]

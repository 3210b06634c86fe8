"""A portrait, a spoken sentence and a short video: what an engine is tried on where nobody gives it work.

The portrait is NASA photograph S99-02264 (public domain); the voice is synthetic and, like the video of both, made for
this project.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PORTRAIT, SPEECH, CLIP = "portrait.jpg", "speech.ogg", "clip.mp4"
BY_KIND = {"image": PORTRAIT, "audio": SPEECH, "video": CLIP}

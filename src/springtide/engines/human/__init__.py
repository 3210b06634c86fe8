"""The digital human: a face and a voice become a video of that face saying what the voice says."""

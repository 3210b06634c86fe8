"""Cutting subjects out of pictures."""

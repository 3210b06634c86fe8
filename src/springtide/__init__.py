"""Springtide: an elastic Model-as-a-Service platform for media AI jobs.

Engine authors need `springtide.engines.protocol`; everybody else speaks HTTP or the command line.
"""

__version__ = "0.1.0"

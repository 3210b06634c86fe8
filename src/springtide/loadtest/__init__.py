"""Load on a server that runs, and what became of it: scenarios, a bounded driver, figures, a report.

Outside of the platform: it speaks the public API through the typed client, and believes only what the record says.
"""

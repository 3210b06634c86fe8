"""Loops that keep promises: record what ended, take back what was lost, put back what went missing, follow the load."""

"""Pictures and words set in motion."""

"""The way in over HTTP: accepts jobs, answers questions about them, streams media both ways."""

"""The composition root: the only place that builds things from their settings, and the command line around it."""

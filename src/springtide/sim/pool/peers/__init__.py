"""Autoscalers of other systems, rebuilt from their sources as baselines. Their figures favour them: one central queue,
exact metrics, no delay before a replica starts to load, and a busy replica that is told to go finishes its job."""

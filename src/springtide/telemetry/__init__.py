"""What operators see of the platform: metrics, traces, logs. Their names live here and nowhere else."""

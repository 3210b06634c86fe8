"""Properties say what is so, not how fast: on a busy machine one example may take longer than any deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile("springtide", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("springtide")

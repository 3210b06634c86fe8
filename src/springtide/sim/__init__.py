"""The real gateway, controller and worker loops in one process, on a virtual clock, under seeded faults."""

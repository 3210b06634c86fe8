"""Code that loads weights and runs a model: one package per workload, one module per engine."""

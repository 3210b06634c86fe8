"""Speed and size, measured beside what a user would pick instead, on the machine at hand.

Each benchmark is a module with `measure(plan) -> Report`; `python -m benchmarks [name ...] [--quick]` runs them and
writes results/<name>.json. A figure without its machine, its versions and its peers of that very run is not kept.
"""

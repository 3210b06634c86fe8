# One entry for everything. `make` lists the commands; each prepares the environment by itself (needs only Python 3.11-3.13).
.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-claims soak screenshots format clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] < (3,14))' 2>/dev/null && { echo $$p; break; }; done)
UV := $(shell command -v uv || echo .tools/bin/uv)
BIN := .venv/bin
STAMP := .venv/.springtide-synced
MINUTES ?= 60

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

run: $(STAMP) ## install, fetch the weights, start everything and print the address
	@$(BIN)/springtide models pull
	@exec $(BIN)/springtide up

test: $(STAMP) ## install, fetch the weights, run all tests
	@$(BIN)/springtide models pull
	$(BIN)/pytest -n 6 --dist loadgroup  # a good part of the tests waits: three for each of two processors

check: $(STAMP) ## format, lint, types and import rules, then all tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(STAMP) ## measure, beside the peers, into benchmarks/results/
	$(BIN)/python -m benchmarks

bench-claims: $(STAMP) ## claims of the field, simulated and run here, into docs/benchmarks.md
	$(BIN)/python -m benchmarks.claims

soak: $(STAMP) ## an hour of mixed load with faults: does anything grow or leak? MINUTES=3 for a trial
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

screenshots: $(STAMP) ## every page of the web page in both languages and colours; those the documentation shows go to docs/images/web/
	$(BIN)/python docs/screenshots.py

format: $(STAMP) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches (not ~/.springtide)
	rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --all-extras --python "$(PYTHON)"
	@touch $@

.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "Springtide needs Python 3.11, 3.12 or 3.13; none of them is on the PATH." >&2; exit 1; }
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

# Everything a developer does, from a fresh clone on. The only things needed beforehand are make and Python.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
export SAM_CLI_TELEMETRY := 0
# As many processes as there are processors; tests/parallel.py says which runs what.
TOGETHER := --numprocesses logical --maxprocesses 4

.PHONY: help demo up test check lint quick lock generate events openapi bench build clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

# PHOTOS reaches the command through the environment.
demo:  ## Start everything, send photographs through, search them, stop (PHOTOS=folder for your own)
	@./magpie demo

up:  ## Start everything and stay up until Ctrl-C
	@./magpie up

test:  ## Run the whole suite
	@./bootstrap dev
	@$(PYTHON) -m pytest $(TOGETHER)

check:  ## Run what takes under a minute: linters, types, template, unit and contract tests
	@./bootstrap dev
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint quick

lint:
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/cfn-lint
	.venv/bin/sam validate --lint

quick:
	$(PYTHON) -m pytest $(TOGETHER) -q -m 'not heavy' tests/unit tests/contract --ignore tests/contract/test_linters.py

# Every lock file takes its versions from requirements/dev.txt, so that what is tested is what runs.
# Pins stay as they are where they can; to take newer versions, remove that file first.
UV := .venv/bin/uv pip compile --quiet --no-header --no-emit-index-url --generate-hashes
# pytrec-eval-terrier asks for scipy, 110 MB, and never imports it.
HERE := --universal --python-version 3.11 --no-emit-package scipy
LAMBDA := --python-version 3.13 --python-platform x86_64-manylinux_2_28 -c requirements/dev.txt

lock:  ## Write every lock file from the .in file beside it
	@./bootstrap dev
	$(UV) $(HERE) requirements/dev.in -o requirements/dev.txt
	$(UV) $(HERE) -c requirements/dev.txt requirements/local.in -o requirements/local.txt
	$(UV) $(HERE) --no-deps requirements/photos.in -o requirements/photos.txt
	set -e; for asked in requirements/runtime.in shared/requirements.in functions/*/requirements.in; do \
		$(UV) $(LAMBDA) $$asked -o $${asked%.in}.txt; done

generate: events openapi  ## Write everything that follows from the code: schemas, docs/events.md, the OpenAPI document

events:  ## Write the schemas in events/ and docs/events.md from shared/events.py and the template
	@./bootstrap dev
	@$(PYTHON) -m events.generate

openapi:  ## Write docs/openapi.json and its copy for the API from the API's routes
	@./bootstrap dev
	@$(PYTHON) -m docs.openapi

# QUICK=1 measures little of each, JSON=1 prints one document.
bench:  ## Measure search, runs, the pipeline, pictures, cold starts (QUICK=1 for two minutes, JSON=1)
	@./bootstrap dev
	@$(PYTHON) -m benchmarks $(if $(QUICK),--quick) $(if $(JSON),--json)

build:  ## Build what is deployed, compiled, and print how large it is
	@./bootstrap dev
	@$(PYTHON) -m tests.runtime.artifact

# .magpie stays too: it holds what somebody has trusted the local stack with.
clean:  ## Remove what was built; .venv and the local stack's data stay
	rm -rf .aws-sam demo-output .venv-lambda .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

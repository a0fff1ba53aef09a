# h2gate: what operators and developers do most. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

CONFIG ?= etc/h2gate.yaml
# Where the control socket of a gate started from here lives; under systemd it is /run/h2gate.
export RUNTIME_DIRECTORY ?= $(CURDIR)/run
COVERAGE := --cov=h2gate.protocol --cov=h2gate.config --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: help run check-config status reload stop peers test test-large lint format types docs check ci clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(READY): pyproject.toml
	@bash tests/install-python.sh
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Both run in the background so that a signal for make reaches them by the trap; Ctrl-C reaches all anyway. HUP is a
# terminal that closes: for the gate alone it would be a reload.
run: $(READY) ## start the gate on etc/h2gate.yaml, with the sample backend behind it
	@mkdir -p "$$RUNTIME_DIRECTORY"
	@trap 'kill -TERM $$gate $$backend 2>/dev/null' INT TERM HUP; \
	$(BIN)/h2gate backend & backend=$$!; \
	$(BIN)/h2gate run --config $(CONFIG) & gate=$$!; \
	while kill -0 $$gate 2>/dev/null; do wait $$gate; status=$$?; done; \
	kill -TERM $$backend 2>/dev/null; wait $$backend; exit $$status

check-config: $(READY) ## check the config, and say what it amounts to
	@$(BIN)/h2gate check --config $(CONFIG)

status: $(READY) ## show the running gate
	@$(BIN)/h2gate status --config $(CONFIG)

reload: $(READY) ## reload the running gate's config; a bad one changes nothing
	@$(BIN)/h2gate reload --config $(CONFIG)

stop: $(READY) ## drain the running gate and stop it
	@$(BIN)/h2gate stop --config $(CONFIG)

peers:
	@bash tests/install-peers.sh

test: $(READY) peers ## run the tests
	$(BIN)/pytest $(COVERAGE)

test-large: $(READY) peers ## run the tests that take minutes: 1 GB bodies, 30 s of load with reloads
	$(BIN)/pytest -m large

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## check types
	$(BIN)/mypy

docs: $(READY) ## write the generated parts of docs/
	$(BIN)/python -m docs.generate_configuration
	$(BIN)/python -m docs.generate_diagrams

check: lint types test ## lint, types and tests

ci: lint types peers ## what CI runs: lint, types and all tests, those that take minutes too
	$(BIN)/pytest $(COVERAGE) -m "large or not large"

clean: ## remove what the targets made
	rm -rf $(VENV) build dist run *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

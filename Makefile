# make demo | test | bench | ui | stop; each sets up what it needs, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
LINE ?= assistant
BIN := .venv/bin
STATE := $(or $(LLM_HOME),$(CURDIR)/.llm)
export DAGSTER_HOME := $(or $(DAGSTER_HOME),$(STATE)/dagster)
export PYTHONWARNINGS := ignore
READY := .venv/.ready .env $(DAGSTER_HOME)/dagster.yaml

.PHONY: help setup demo test lint bench ui stop lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/'

setup: $(READY) $(STATE)/data-registry/.ready ## environment, instance and the demo data registry

demo: setup ## a real data set and a real model all the way to a served, gated release
	@$(BIN)/dagster job execute -f definitions.py -j $(LINE)_ship
	$(BIN)/python -m llm_assets.show $(LINE)

test: $(READY) lint ## lint, type-check and test
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.ready ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/.ready ## beside its peers, into benchmarks/results.md; NAME=eval-prefix runs one, MODEL=folder on a model
	@$(BIN)/python -m benchmarks $(NAME) $(if $(MODEL),--model "$(MODEL)") $(if $(SIZE),--size $(SIZE))

ui: setup ## dagster dev on this checkout's instance, and the pages that its links to reports open
	@$(BIN)/python -m resources.reports &
	trap "kill $$! 2> /dev/null || :" EXIT
	$(BIN)/dagster dev -w workspace.yaml

stop: $(READY) ## end the servers that serving left running
	@$(BIN)/python -m llm_assets.serving.stop

lock: .venv/.ready ## resolve pyproject.toml again into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-header --quiet -o requirements.lock
	$(BIN)/uv pip compile --group materials --no-deps --python-version 3.11 --no-header --quiet >> requirements.lock

clean: stop ## remove the environment and all state
	@rm -rf .venv .env $(STATE)

.venv/.ready: requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
	  echo "Python 3.11 is needed, $(PYTHON) is $$("$(PYTHON)" --version); run: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	echo "Installing $$(grep -c == requirements.lock) packages into .venv (some minutes, once)."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	touch $@

# The dagster command reads .env by itself, so that it finds this checkout's instance without any other set-up.
.env: Makefile
	@printf '%s\n' 'DAGSTER_HOME=$${DAGSTER_HOME:-$(CURDIR)/.llm/dagster}' 'DO_NOT_TRACK=1' > $@

$(DAGSTER_HOME)/dagster.yaml: deploy/dagster.yaml
	@mkdir -p $(@D)
	cp $< $@

$(STATE)/data-registry/.ready: .venv/.ready
	@test -e $@ || $(BIN)/python -m llm_assets.demo_registry $(STATE)/data-registry
	mkdir -p $(@D)
	touch $@

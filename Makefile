# qframe: every target below is one command. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test lint types clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.dev ## create .venv with everything, development tools included

train: $(VENV)/.core ## train DQN on CartPole-v1; other runs: make train ARGS="experiment=acrobot_dqn seed=2"
	$(BIN)/qframe train $(ARGS)

test: $(VENV)/.dev ## lint, types, all tests and doctests
	$(MAKE) --no-print-directory lint types
	$(BIN)/pytest -n 2

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## pyright
	$(BIN)/pyright

clean: ## remove .venv, caches and builds; runs in outputs/ stay
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.core $@

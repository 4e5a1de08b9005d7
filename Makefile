# qframe: every target below is one command. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
CONFORMANCE := .venv-conformance
PEERS := .venv-peers
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test suite lint types docs conformance refusals schema results peers benchmark clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.dev ## create .venv with everything, development tools included

train: $(VENV)/.core ## train DQN on CartPole-v1; other runs: make train ARGS="experiment=acrobot_dqn seed=2"
	$(BIN)/qframe train $(ARGS)

test: $(VENV)/.dev ## lint, types, all tests and doctests
	$(MAKE) --no-print-directory --jobs lint types suite # together, since the suite waits for processes now and then

suite: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist worksteal # to rewrite assertions takes each process seconds

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## pyright
	$(BIN)/pyright

docs: $(VENV)/.dev ## build the site into site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

conformance: $(CONFORMANCE)/.ready ## compare with the reference library (torchrl); with its own tests: REFERENCE_TESTS=path/to/rl/test
	RL_WARNINGS=False PYTHONPATH=. $(CONFORMANCE)/bin/python scripts/conformance
	$(if $(REFERENCE_TESTS),PYTHONPATH=. $(CONFORMANCE)/bin/python scripts/conformance/suite.py $(REFERENCE_TESTS))

refusals: $(VENV)/.dev ## write the table in docs/refusals.md
	$(BIN)/python scripts/refusals.py

schema: $(VENV)/.dev ## write docs/preset.schema.json from conf/ and the constructors
	$(BIN)/python scripts/preset_schema.py

results: $(VENV)/.dev ## write the table in docs/results.md from docs/results/*.json
	$(BIN)/python scripts/results.py

peers: $(foreach peer,sb3 torchrl tianshou jax rejax,$(PEERS)/$(peer)/.ready) ## environments with the libraries that the benchmark compares with

benchmark: $(VENV)/.dev ## measure qframe beside its peers: make benchmark ARGS="w1 w4 --repeats 5"
	PYTHONPATH=scripts/benchmark $(BIN)/python scripts/benchmark $(ARGS)

clean: ## remove .venv, caches and builds; runs in outputs/ stay
	rm -rf $(VENV) $(CONFORMANCE) $(PEERS) dist build site .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.core $@

# torchrl asks for an older tensordict than qframe needs, but works with it: its other dependencies are named here.
$(CONFORMANCE)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CONFORMANCE)
	$(CONFORMANCE)/bin/python -m pip install --quiet -c constraints.txt -e . 'hoptorch>=0.1.4' pytest
	$(CONFORMANCE)/bin/python -m pip install --quiet --no-deps torchrl==0.14.1
	@touch $@

$(PEERS)/%/.ready: TORCH := torch==2.13.0
$(PEERS)/sb3/.ready: PACKAGES := stable-baselines3==2.9.2 sb3-contrib==2.9.2 ale-py opencv-python-headless
# torchrl's compiled half, its prioritized replay, loads with the torch that it was built for and no other.
$(PEERS)/torchrl/.ready: PACKAGES := torchrl==0.14.1 gymnasium[classic-control]
$(PEERS)/torchrl/.ready: TORCH := torch==2.14.1
$(PEERS)/tianshou/.ready: PACKAGES := tianshou==2.0.1
# gymnax 1.0 needs six without asking for it, and rejax an earlier gymnax.
$(PEERS)/jax/.ready: PACKAGES := jax==0.10.2 optax==0.2.8 gymnax==1.0.1 six
$(PEERS)/jax/.ready: TORCH :=
$(PEERS)/rejax/.ready: PACKAGES := jax==0.10.2 rejax==0.1.3 gymnax==0.0.9
$(PEERS)/rejax/.ready: TORCH :=
$(PEERS)/%/.ready:
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet $(TORCH) $(PACKAGES)
	@touch $@

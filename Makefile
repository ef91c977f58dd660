# `make help` lists what there is. Needs make and Python 3.10 or newer; the rest installs itself.

# a CPU build of torch from an index of your choice: make setup TORCH_INDEX_URL=...
export TORCH_INDEX_URL
PYTHON ?= python3
ARGS ?=
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## installs what is missing into .venv; instant when nothing is
	@$(PYTHON) tools/setup.py

demo: setup ## a simulated Franka does what it is told; ARGS="..." goes to `defi up franka --demo`
	@$(VENV)/defi up franka --demo $(ARGS)

# three processes: one runs what depends on time, the others step back behind it and fill two cores with the rest;
# with compiled modules, without which each of the many processes that tests start takes a third longer
test: setup ## all tests; ARGS="..." goes to pytest
	@PYTHONDONTWRITEBYTECODE= $(VENV)/python -m pytest -n 3 --junitxml=test-results/junit.xml $(ARGS)

lint: setup ## ruff, pyright and hadolint
	@failed=0; $(VENV)/ruff check || failed=1; $(VENV)/ruff format --check || failed=1; $(VENV)/pyright || failed=1; \
		$(VENV)/hadolint docker/*.Dockerfile || failed=1; exit $$failed

format: setup ## lays out the code and mends what ruff can mend
	@$(VENV)/ruff check --fix
	@$(VENV)/ruff format

# make train: install everything pinned into .venv and train on Pong. make test: the same, then lint, types and tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES := $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
BIN := .venv/bin

.PHONY: train test tensorboard clean

train: .venv/installed
	$(BIN)/python -m launch.async --workers $(CORES) $(ARGS)

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

tensorboard: .venv/installed
	$(BIN)/tensorboard --logdir runs

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache

# make train: install everything pinned into .venv and train on Pong. make test: the same, then lint, types and tests.
# make docs: pages of the library's interface in build/docs. make tensorboard: the curves of all runs.
# make reproduce-quick: small versions of what the README shows that it learns, within 15 minutes on 2 cores, into
# runs/reproduce-quick/results.
# make peers: install the programs that benchmarks.peers compares with, pinned, into .venv-peers.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: train test tensorboard docs reproduce-quick peers clean

train: .venv/installed
	$(BIN)/python -m launch.async $(ARGS)

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadgroup

tensorboard: .venv/installed
	$(BIN)/tensorboard --logdir runs

docs: .venv/installed
	$(BIN)/python -m launch.docs

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

reproduce-quick: .venv/installed
	$(QUICK) --games pong breakout --parts streams robustness games
	$(QUICK) --games pong --parts layer_norm methods replay pong_streams --pong-steps 4_000
	$(QUICK) --games pong --parts pong_robustness --pong-steps 12_000

QUICK = $(BIN)/python -m benchmarks.reproduce --steps 54_000 --toy-seeds 1 --toy-steps 10_000 --episodes 5 \
	--runs runs/reproduce-quick --output runs/reproduce-quick/results

peers: .venv-peers/installed

.venv-peers/installed: pyproject.toml benchmarks/peers_constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --constraint benchmarks/peers_constraints.txt --editable '.[peers]'
	touch $@

clean:
	rm -rf .venv .venv-peers *.egg-info .pytest_cache .mypy_cache .ruff_cache

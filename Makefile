# `make demo` and `make test` set everything up on a fresh machine with Python 3.11 or later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile \
	--no-loadscope-reorder
# Most of the tests' time is XLA's, which takes four times as long where it optimises.
QUICKLY := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.PHONY: demo test fuzz lint types format clean

demo: $(READY)
	$(BIN)/python -m experiments.make_cohort --config=configs/demo.py --workdir=runs/demo/cohort
	$(BIN)/python -m experiments.detect --config=configs/demo.py --workdir=runs/demo

test: $(READY)
	XLA_FLAGS="$(QUICKLY) $(XLA_FLAGS)" $(PYTEST) -m "not optimised"
	$(PYTEST) -m optimised

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): requirements.txt setup.py setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .venv-cleanlab .jax_cache .mypy_cache build *.egg-info

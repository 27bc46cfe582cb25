# `make gate` and `make test` set up everything they need in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: gate test lint bench conformance clean

gate: $(READY)
	$(BIN)/pytest --linearity-config examples/arithmetic/linearity.yaml --junitxml=linearity-junit.xml

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

conformance: $(READY)
	$(BIN)/python -m tests.conformance

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

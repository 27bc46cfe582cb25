# `make gate` and `make test` set up everything they need in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest tests -n auto --dist worksteal
READY := $(VENV)/.ready

.PHONY: gate test test-slow fuzz lint bench conformance clean

gate: $(READY)
	$(BIN)/pytest --linearity-config examples/arithmetic/linearity.yaml --junitxml=linearity-junit.xml

test: lint
	$(PYTEST) -m "not slow and not gpu"

test-slow: $(READY)
	$(PYTEST) -m "slow and not gpu"

fuzz: $(READY)
	LINEARITY_FUZZ_CASES=$${LINEARITY_FUZZ_CASES:-4000} OMP_NUM_THREADS=1 $(BIN)/pytest tests/fuzz -n auto --dist worksteal

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

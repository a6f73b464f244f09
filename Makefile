# The set-up is in one place: `make demo` and `make test` both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: test-oldest setup demo demo-quick laboratory-quick test lint doctest slow docs notebooks clean

# Without --no-compile pip spends a minute on modules that are never imported; Python compiles those that are.
setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[flow,test]'
	touch $@

demo: setup
	$(BIN)/latticeflow demo

# Half a minute each: that the parts work together.
demo-quick: setup
	$(BIN)/latticeflow demo --quick --directory "$$(mktemp -d)"

laboratory-quick: setup
	$(BIN)/latticeflow modes --table --quick

# Three processes keep two cores busy: many tests wait for others that they start.
test: setup
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

doctest: setup
	$(BIN)/python -m pytest --doctest-modules mcmc latticeflow

slow: setup
	$(BIN)/python -m pytest -m slow

docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo documentation: docs/_build/html/index.html

notebooks: setup
	$(BIN)/python notebooks/remake.py --check --workers 2

# Package mcmc with the oldest versions that setup.cfg admits; Python 3.11 has wheels of all of them.
test-oldest:
	python3.11 -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable . pytest hypothesis
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-oldest/kernels .venv-oldest/bin/python -m pytest tests/test_portability.py \
		tests/kernels/test_kernels_arithmetic.py tests/storage/test_ensemble.py tests/storage/test_selection.py \
		tests/storage/test_imported_arrays.py

clean:
	rm -rf $(VENV) .venv-oldest build *.egg-info .mypy_cache .pytest_cache .ruff_cache

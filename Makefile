# The set-up is in one place: `make demo` and `make test` both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup demo test lint doctest slow notebooks clean

setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[flow,test]'
	touch $@

demo: setup
	$(BIN)/latticeflow demo

test: setup
	$(BIN)/python -m pytest --numprocesses 2

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

doctest: setup
	$(BIN)/python -m pytest --doctest-modules mcmc latticeflow

slow: setup
	$(BIN)/python -m pytest -m slow

notebooks: setup
	$(BIN)/python notebooks/remake.py --check

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

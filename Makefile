# The set-up is in one place: `make demo` and `make test` both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup demo test lint doctest slow docs notebooks clean

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

docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo documentation: docs/_build/html/index.html

notebooks: setup
	$(BIN)/python notebooks/remake.py --check

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

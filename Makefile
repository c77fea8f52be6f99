# The first target that needs it makes .venv and installs into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUTPUT ?= demo

.PHONY: help demo test lint format bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## phantoms, training, maps and figures in demo/
	$(BIN)/python -m pipeline demo --output $(OUTPUT)

test: $(VENV)/.installed-dev  ## the tests, on all processors
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-dev  ## style, types, spelling, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## correct the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev  ## speed and memory, in benchmarks/results.json
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks

docs: $(VENV)/.installed-docs  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

clean:  ## remove .venv, the site and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache site build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: requirements-docs.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

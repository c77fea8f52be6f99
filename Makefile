# The first target that needs it makes .venv and installs into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUTPUT ?= demo
MODEL_SETTINGS ?= picture_interval=0 precision=bfloat16 polarity=dark smoothing=2.5 bias_correction=n4 weight_precision=float16

.PHONY: help demo model test lint format bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## a head, then phantoms, training, maps and figures in demo/
	$(BIN)/python -m pipeline demo --output $(OUTPUT)

# The number of threads changes the order of sums, and so the weights.
model: export OMP_NUM_THREADS = 1
model: $(VENV)/.installed  ## the T1 model that ships: make model DATA=DATALIST TEST=DATALIST OUTPUT=DIR
	$(if $(and $(DATA),$(TEST)),,$(error give DATA and TEST: datalists of the healthy heads, and of those with strokes))
	$(BIN)/python -m pipeline train --data $(DATA) --output $(OUTPUT)/run --set $(MODEL_SETTINGS)
	$(BIN)/python -m pipeline evaluate --model $(OUTPUT)/run --data $(TEST) --split tune --output $(OUTPUT)/evaluation
	$(BIN)/python -m pipeline pack --model $(OUTPUT)/run --output $(OUTPUT)/ixi_t1_cevae --evaluation $(OUTPUT)/evaluation \
		--card docs/models/ixi_t1.md --data-license docs/models/ixi_t1_license.txt

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
	PYTHONPATH=$(CURDIR) $(BIN)/mkdocs build --strict

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

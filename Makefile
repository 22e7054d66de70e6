# make demo    set up, then show the whole of lorry on the embedded bases
# make test    run the tests            make lint    ruff, mypy, import contracts, generated docs
# make docs    build the documentation  make clean   remove everything that was made
#
# TORCH_INDEX=URL takes torch from another package index, say a CPU-only or a CUDA one.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := demo
.PHONY: demo test lint docs clean

demo: .venv/run.stamp
	$(BIN)/lorry demo

test: .venv/dev.stamp .venv/hub1.stamp
	HUB_CLIENTS=$(CURDIR)/.venv/hub1/bin/python $(BIN)/pytest -n 2

lint: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: .venv/dev.stamp
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site dist build demo-output
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One environment. `demo` needs lorry to run, `test` and `lint` the tools besides.
.venv/torch.stamp: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lorry needs Python 3.11 or later; say make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	touch $@

.venv/run.stamp: .venv/torch.stamp pyproject.toml
	$(PIP) -e '.[torch]'
	touch $@

.venv/dev.stamp: .venv/torch.stamp pyproject.toml
	$(PIP) -e '.[dev]'
	touch $@ .venv/run.stamp

# The Hub's client as it was before 2.0: lorry serve-hub serves both.
.venv/hub1.stamp: .venv/torch.stamp
	$(PYTHON) -m venv .venv/hub1
	.venv/hub1/bin/python -m pip install --quiet --disable-pip-version-check huggingface_hub==1.33.0
	touch $@

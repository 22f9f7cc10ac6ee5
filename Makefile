# `make demo` and `make test` make what they need, once, in .venv; the second time they start at once.
# Nothing is activated: everything is called by its path, so `cc` stays the C compiler's name here.
#
#   make demo                 install, then a session that learns, on a small model, and its proof
#   make test                 the tests; ARGS="-k replay" narrows them, ARGS="-m slow" runs the long ones
#   make check                lint, format, types
#   make tinker               the Tinker plugin against a real server on this machine (half an hour)
#   make clean                remove .venv, caches and builds
#   PYTHON=/path/to/python    which Python makes .venv (3.11 or newer; found by itself if left out)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
INSTALL := $(PIP) --build-constraint constraints.txt
ARGS ?=

.PHONY: help demo test check tinker clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.local
	$(BIN)/continualcode demo $(ARGS)

# A test that hangs is a failure, not a build that never ends.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --timeout=900 $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# SkyRL in an environment of its own (1.9 GB), started on loopback, asked through the plugin, and stopped.
tinker: $(VENV)/.local
	$(BIN)/python benchmarks/tinker/check.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

# Stamps, touched when an installation is complete: one that was interrupted is done again.
# constraints.txt pins every version; a change there or in pyproject.toml installs anew.

$(VENV)/.dev: $(VENV)/.local
	$(INSTALL) --group dev
	@touch $@

$(VENV)/.local: $(VENV)/.made pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local,tinker]'
	@touch $@

# --group and --build-constraint need a new pip; a new environment has the one its Python was shipped with.
$(VENV)/.made:
	@python='$(PYTHON)'; \
	for found in $${python:-python3 python3.13 python3.12 python3.11}; do \
	  if "$$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$found" --version) ($$(command -v "$$found"))"; \
	    "$$found" -m venv --clear $(VENV) && $(PIP) --upgrade pip && touch $@; exit; \
	  fi; \
	  echo "$$found is not Python 3.11 or newer: $$("$$found" --version 2>&1 | head -1)" >&2; \
	done; \
	echo 'continualcode needs Python 3.11 or newer. Name one: make demo PYTHON=/path/to/python3' >&2; exit 1

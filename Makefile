# make setup   prepares .venv (with .venv/bin/hodor), if it is not there yet
# make demo    makes a clip, segments it, and says what to open
# make test    lint, then pytest in one process per core (WORKERS=1: in one)
# make test-lowest   pytest with Python 3.10 and the lowest versions that pyproject.toml declares (needs uv)
# make lint    ruff, mypy and the layers (import-linter)
# make fuzz    2,000 runs of the commands on damaged files
# make coverage   pytest, and the lines that it does not run
# make reference  regenerates docs/commands.md
# make docs    serves the documentation site on this machine
# make tutorials  runs every command of README and the tutorials (many minutes)
# make release    builds wheel and sdist and checks them
#
# PYTHON=... chooses the interpreter (3.10 or newer); the default is the first suitable one on PATH.

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && { echo $$p; break; }; done)
EXTRAS ?= annotate,demo,dev,figures,hub,onnx,ray,tensorboard
VENV := .venv
WORKERS ?= auto
BIN := $(VENV)/bin
# Tests of a file share fixtures, so each file runs in one process.
PYTEST := -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
STAMP := $(VENV)/.hodor-ready

.PHONY: setup demo test test-lowest coverage fuzz reference docs tutorials release lint clean

setup: $(STAMP)

# If the interpreter's version differs from the environment's, the environment is recreated.
# imgaug and vos-benchmark require the OpenCV that needs a display's libraries; the headless one has all that they use.
$(STAMP): pyproject.toml constraints.txt Makefile
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then echo "error: no Python 3.10 or newer with venv on PATH; name one: make setup PYTHON=/path/to/python" >&2; exit 1; fi; \
	version() { "$$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }; \
	clear=; if [ -e $(VENV) ] && [ "$$(version $(BIN)/python)" != "$$(version "$$python")" ]; then clear=--clear; fi; \
	echo "making $(VENV) with $$python (Python $$(version "$$python"))"; \
	"$$python" -m venv $$clear $(VENV)
	@echo "installing hodor and what it needs (a few minutes the first time)"
	@$(PIP) install -c constraints.txt -e ".[$(EXTRAS)]"
	@$(PIP) install --no-deps imgaug==0.4.0 vos-benchmark
	@$(BIN)/hodor --version
	@touch $(STAMP)

demo: setup
	@$(BIN)/python examples/demo.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

test: lint
	$(BIN)/python $(PYTEST)

test-lowest:
	uv venv -q --clear --python 3.10 $(VENV)-lowest
	uv pip install -q --python $(VENV)-lowest --torch-backend cpu --resolution lowest-direct -e ".[$(EXTRAS)]"
	uv pip install -q --python $(VENV)-lowest --no-deps imgaug==0.4.0 vos-benchmark==0.1
	$(VENV)-lowest/bin/python $(PYTEST)

coverage: setup
	$(BIN)/python $(PYTEST) --cov=hodor_cli --cov-report=term:skip-covered

fuzz: setup
	cd tests && ../$(BIN)/python -m fuzz.fuzz --runs 2000

reference: setup
	$(BIN)/python docs/reference.py

docs: setup
	$(BIN)/mkdocs serve

tutorials: setup
	$(BIN)/python docs/tutorials.py

release: setup
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean:
	rm -rf $(VENV) $(VENV)-lowest demo_output build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# make help shows what there is. Everything that is made stays in .venv, .venv-local, .lastgood and node_modules.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
export LASTGOOD_CACHE ?= $(CURDIR)/.lastgood/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
BIN := .venv/bin
# One more than the cores of the smallest machine that we have in mind: the tests wait a lot, for the engine and for what they start.
PROCESSES ?= 3

.PHONY: help demo test test-long check quick bench lint types lock docs permissions faults matrix migrations-table bench-migrator survey clean venv

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/tool  ## the whole pipeline on this machine, ends with a summary and a page to look at
	@$(BIN)/lastgood demo

test: .venv/tests  ## all tests (real PostgreSQL, real containers, real workflows)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint types
	$(BIN)/python tests/with_postgres.py $(BIN)/pytest -q --numprocesses=$(PROCESSES) --durations=8

test-long: .venv/tests  ## what takes an hour: 1,000 walks over random histories, faults at every statement, real packages' histories
	$(BIN)/python tests/with_postgres.py $(BIN)/pytest -q -m long -s --durations=8

check: .venv/tests  ## lint, types and the quick tests, under a minute
	@$(MAKE) --no-print-directory --jobs=2 --output-sync quick lint types

quick: .venv/tests
	$(BIN)/pytest -q --numprocesses=3 -m "not slow and not docker and not postgres and not long"

bench: .venv/tests  ## measure our images and those of others, write docs/benchmarks.md (ONLY=size PROJECT=board; as root)
	@PYTHONPATH=ci:tests $(BIN)/python -m bench --only "$(ONLY)" --project "$(PROJECT)" $(if $(ROUNDS),--rounds $(ROUNDS))

lint: .venv/tests
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/cfn-lint ci/cloudformation/*.yml
	@$(BIN)/shellcheck .ci/run
	@$(BIN)/python ci/checks/workflows.py

types: .venv/tests
	@$(BIN)/mypy

lock: .venv/tests  ## compile the locks of the image, the tool, its tests and the local cloud anew
	@$(BIN)/lastgood lock-base
	@$(BIN)/lastgood lock-base --seeds ci/lastgood/local/postgres.toml
	@$(BIN)/lastgood lock-base --seeds tests/servers/pgbouncer.toml
	@$(BIN)/lastgood lock
	@for set in ci tests ci/lastgood/local; do \
	  CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o $$set/requirements.txt $$set/requirements.in; done

docs: .venv/tests  ## docs/configuration.md and docs/lastgood.schema.json, from the classes that read [tool.lastgood]
	@$(BIN)/python ci/checks/configuration.py --write

survey: .venv/tests  ## what published packages promise, asked of an image that has them: docs/survey.md (ONLY=name,name)
	@PYTHONPATH=ci:tests $(BIN)/python -m survey --only "$(ONLY)"

permissions: .venv/tests  ## docs/permissions.md: what every role may do, who gets it, what was tried (CALLS=file noted by LASTGOOD_CALLS)
	@PYTHONPATH=ci:tests $(BIN)/python -m permissions $(CALLS)

faults: .venv/tests  ## docs/faults.md: what a deploy survives, fault after fault, in about an hour (ONLY="name name")
	@PYTHONPATH=ci:tests $(BIN)/python -m faults $(ONLY)

matrix: .venv/tests  ## the migrator with Django 4.2 to 6.1 on PostgreSQL 14 to 18 (ROWS="6.1/image/18")
	@PYTHONPATH=.:ci:docker $(BIN)/python -m tests.migrator.matrix $(ROWS)

migrations-table: .venv/tests  ## docs/migrations-comparison.md: our migrator and two other methods over pairs of builds
	@PYTHONPATH=.:ci:docker $(BIN)/python tests/with_postgres.py $(BIN)/python -m tests.migrator.comparison

bench-migrator: .venv/tests  ## docs/benchmarks-migrator.md: what the migrator costs over Django's own migrate
	@PYTHONPATH=.:ci:docker $(BIN)/python tests/with_postgres.py $(BIN)/python -m tests.migrator.cost

clean:  ## leaves no container, image, network, process or folder of ours behind
	@if [ -x $(BIN)/lastgood ]; then $(BIN)/lastgood local clean --engine; fi
	@rm -rf .venv .venv-local .lastgood node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis ci/lastgood.egg-info ci/build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The venv module is a package of its own on Debian and Ubuntu; as root we may add it.
venv:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "lastgood needs Python 3.11 or newer as $(PYTHON): install it, or name one with make PYTHON=…" >&2; exit 2; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "· installing python3-venv"; apt-get update -qq >/dev/null && apt-get install -yqq --no-install-recommends python3-venv >/dev/null; \
	  else echo "$(PYTHON) has no venv module: install the package python3-venv" >&2; exit 2; fi; fi

.venv/tool: ci/requirements.txt ci/pyproject.toml ci/setup.py | venv
	@echo "· the tool's virtual environment (.venv)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r ci/requirements.txt 2>&1 | { grep -v '^WARNING' || true; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e ./ci 2>&1 | { grep -iE '^error' || true; }
	@$(BIN)/lastgood --version >/dev/null
	@touch $@

.venv/tests: tests/requirements.txt .venv/tool
	@echo "· what the tests need, too"
	@$(BIN)/python -m pip install --quiet --require-hashes -r tests/requirements.txt 2>&1 | { grep -v '^WARNING' || true; }
	@touch $@

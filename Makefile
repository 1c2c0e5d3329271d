# `make run` needs nothing but Python 3.11 or newer; `make test` and `make stack` fetch what else they use.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test bench revocation soak stack lint lock clean

run: .venv/project
	@exec $(BIN)/keystile demo $(ARGS)

test: lint
	@exec $(BIN)/python -m pytest $(ARGS)

stack: .venv/tests
	@PYTHONPATH=tests exec $(BIN)/python -m stack $(ARGS)

# The next three want a machine that does nothing else, and wrk or postgresql where they say so: ratios measured in one
# run (20 minutes), how soon an end bites in four processes, and ten minutes of load, changes and faults.
bench: .venv/tests
	@PYTHONPATH=tests exec $(BIN)/python -m bench $(ARGS)

revocation: .venv/tests
	@PYTHONPATH=tests exec $(BIN)/python -m revocation $(ARGS)

soak: .venv/tests
	@PYTHONPATH=tests exec $(BIN)/python -m soak $(ARGS)

lint: .venv/tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Only what can be made again: never .keystile, which holds keys.
clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find service tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The build backend is locked too: it is what installs the project without a look at a registry.
compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header
lock: .venv/tests
	printf 'hatchling\neditables\n' | $(compile) pyproject.toml - --output-file service/requirements.lock
	$(compile) tests/requirements.in --constraint service/requirements.lock --output-file tests/requirements.lock
	$(compile) pyproject.toml --extra mcp --constraint service/requirements.lock --constraint tests/requirements.lock \
		--output-file service/requirements-mcp.lock

python_fault = $(or $(version_fault),$(venv_fault))
version_fault = $(shell $(PYTHON) -c 'import sys; v = sys.version_info[:3]; sys.stdout.write("" if v >= (3, 11) else \
	"Keystile needs Python 3.11 or newer; $(PYTHON) is %d.%d.%d. Try: make $(MAKECMDGOALS) PYTHON=python3.12" % v)' \
	2>/dev/null || echo '$(PYTHON) does not run. Install Python 3.11 or newer, or name one: make $(MAKECMDGOALS) PYTHON=python3.12')
venv_fault = $(shell $(PYTHON) -c 'import ensurepip, venv' >/dev/null 2>&1 || \
	echo '$(PYTHON) has no venv module: apt-get install python3-venv')

# pip takes a package it was interrupted in for an installed one. So .venv/base, on which everything
# depends, is away while pip works, and whoever comes after an interrupted run starts over.
install = mv .venv/base .venv/away && $(BIN)/python -m pip install --quiet $(1) && mv .venv/away .venv/base

.venv/base: service/requirements.lock
	$(if $(python_fault),$(error $(python_fault)))
	@echo 'making .venv (once; about a minute)'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement service/requirements.lock
	@touch $@

.venv/project: pyproject.toml .venv/base
	@$(call install,--no-deps --no-build-isolation --editable .)
	@touch $@

.venv/tests: tests/requirements.lock .venv/project
	@$(call install,--require-hashes --requirement tests/requirements.lock)
	@touch $@

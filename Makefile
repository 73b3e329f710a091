.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check check-fast types format docs clean

BIN := .venv/bin
DEMO_ARGS ?=
WORKERS ?= 2

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup:  ## Create .venv and install the pinned packages into it
	@bash tools/setup.sh

demo: setup  ## Evaluate the shipped model and open its dream in the browser
	@$(BIN)/reverie demo $(DEMO_ARGS)

test: setup  ## Fast checks and all tests but the long ones
	@bash tools/system_packages.sh
	@$(MAKE) --no-print-directory check-fast
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not long"

test-all: setup  ## All checks and all tests
	@bash tools/system_packages.sh
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: check-fast types  ## Format, lint, types, floors, sizes, duplicates, commands in the docs

check-fast: setup
	@$(BIN)/ruff format --check --quiet . || { echo "Run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/check_sizes.py
	@$(BIN)/python tools/check_words.py
	@$(BIN)/python tools/check_duplicates.py
	@$(BIN)/python tools/check_commands.py
	@$(BIN)/python tools/check_links.py

types: setup
	@$(BIN)/basedpyright
	@$(BIN)/basedpyright --project tools/strict.json

format: setup  ## Format the code and sort the imports
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

docs: setup  ## Check the documents: commands, links, pictures
	@$(BIN)/python tools/check_commands.py
	@$(BIN)/python tools/check_links.py

clean:  ## Remove caches and build outputs; .venv, runs and data stay
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

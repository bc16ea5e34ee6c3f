# Two commands set everything up on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Test processes: one more than cores, since the system tests often wait for servers that they start.
WORKERS ?= 3

# Containers often set it; then every one of the hundreds of processes of the tests would compile the project anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test suite check quick lint bench docs clean

demo: $(INSTALLED)
	$(BIN)/humwatch demo

# The type checker beside the tests: in a fresh clone it takes a minute of one core.
test: $(INSTALLED)
	$(MAKE) --jobs 2 lint suite

suite: $(INSTALLED)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report term:skip-covered

# What a contributor runs before each commit: no commands, no clusters, nothing that takes four seconds by itself.
PINS := tests/flows/test_preset_keys.py tests/flows/test_old_lakes.py tests/flows/test_presets.py

check: $(INSTALLED)
	$(MAKE) --jobs 2 lint quick

quick: $(INSTALLED)
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not slow" tests/storage tests/tasks tests/test_architecture.py $(PINS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py

docs: $(INSTALLED)
	$(BIN)/python -m humwatch.flows.settings_page > docs/settings.md

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@# On all cores, unlike pip. As with pip, files written for another Python may fail.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/|/testing/' $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache build *.egg-info

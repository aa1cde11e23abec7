# Each job first makes its virtual environment, .venv, from the pinned versions in constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
UNWANTED := GNU General Public License;GNU Affero;GPLv3;AGPL;NonCommercial

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-oldest soak bench audit lint format docs wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## patch a converged model, measure whether it helped, print the table (about a minute)
	$(BIN)/python -m dmp_lightning.train

test: $(READY)  ## run the tests
	$(BIN)/pytest -n auto --dist loadfile

test-slow: $(READY)  ## run all tests, those too that take minutes
	$(BIN)/pytest -n auto --dist loadfile -m "slow or not slow"

test-oldest: $(READY)  ## test models of diffusers with the oldest version that is supported
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/oldest \
		diffusers==0.33.1 transformers==4.51.3 tokenizers==0.21.4 huggingface_hub==0.36.2
	PYTHONPATH=build/oldest $(BIN)/python -m pytest -p tests.without_torchao \
		tests/backbones/test_diffusers.py tests/backbones/test_called.py tests/backbones/test_pipelines.py

soak: $(READY)  ## kill 20 runs anywhere, resume them, and compare with one left alone (about 10 minutes)
	$(BIN)/python -m tests.crashes 20

bench: $(READY)  ## measure what a step costs in time and memory, reading latents, and reports (about 35 minutes)
	$(BIN)/python experiments/step_cost/bench.py
	$(BIN)/python experiments/latent_store/bench.py
	$(BIN)/python experiments/report_growth/bench.py

audit: $(READY)  ## look for known vulnerabilities and unwanted licences among the dependencies (needs the network)
	$(BIN)/pip-audit --skip-editable
	$(BIN)/pip-licenses --order=license --fail-on "$(UNWANTED)" --partial-match

lint: $(READY)  ## check format, style, types and the direction of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## format the code, and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY)  ## build the documents into site/; links that lead nowhere are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what was built and cached; runs and .venv stay
	rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "There is no python3 here: install Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11: install that, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) lacks the venv module: install it (on Debian: apt install python3-venv)."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "Installing dmp-lightning and its pinned dependencies into .venv (minutes, the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# Hakobune's two commands are `make demo` and `make test`; the rest is for people who work on it.
# PYTHON is only the seed of the virtual environment: any CPython >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TESTS  ?= tests
SEED   ?= $(shell date +%s)
FAULTS ?= 1000
ROUND  ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help venv demo test check chaos fuzz bench conformance lint format clean peers proto

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## the story of one container, on a private engine (root)
	@$(BIN)/python -m hakobune.cmd.hako demo

test: $(VENV)/.dev peers lint ## everything: peers, lint, all tests
	@$(BIN)/python -m pytest $(TESTS)

chaos: $(VENV)/.dev ## the long chaos run: SEED=1 FAULTS=1000, ROUND=17 plays one round again (root)
	@HAKO_CHAOS_SEED=$(SEED) HAKO_CHAOS_FAULTS=$(FAULTS) HAKO_CHAOS_ROUND=$(ROUND) \
	  $(BIN)/python -m pytest $(if $(ROUND),tests/chaos/test_chaos.py -k test_chaos,tests/chaos)

check: $(VENV)/.dev ## the tests that need neither root nor peers
	@$(BIN)/python -m pytest -m 'not root and not slow' tests/unit tests/architecture

fuzz: $(VENV)/.dev ## a minute each of hostile archives and documents for their readers (pip install atheris)
	@for target in tar decompress manifest; do $(BIN)/python tests/fuzz/readers.py $$target 60 || exit 1; done

bench: $(VENV)/.run ## ours beside dockerd and podman, in one run (root)
	@$(BIN)/python bench/engine_bench.py

conformance: $(VENV)/.dev ## ctr and nerdctl on hako-containerd, OCI's validation of hako-runtime: docs/conformance.md (root)
	@$(BIN)/python tools/conformance.py
	@$(BIN)/python tools/validation.py

lint: $(VENV)/.dev ## ruff (rules and format) and mypy --strict
	@$(BIN)/ruff check src tests tools bench
	@$(BIN)/ruff format --check src tests tools bench
	@$(BIN)/mypy

format: $(VENV)/.dev ## let ruff write the format
	@$(BIN)/ruff check --fix --exit-zero src tests tools bench
	@$(BIN)/ruff format src tests tools bench

proto: $(VENV)/.dev ## generate the stubs from src/hakobune/proto/*.proto
	@$(BIN)/python tools/gen_proto.py

peers: ## Debian packages, Go programs and a kernel that tests use as peers (missing ones are printed)
	@sh tools/install_peers.sh
	@sh tools/install_go_peers.sh
	@sh tools/install_criu.sh
	@sh tools/install_vm_kernel.sh

venv: $(VENV)/.dev ## the virtual environment with everything for developing

clean: ## remove the virtual environment and every cache
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .peers
	@find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml
	@$(PYTHON) tools/make_venv.py $(VENV) .
	@touch $@

$(VENV)/.dev: pyproject.toml
	@$(PYTHON) tools/make_venv.py $(VENV) '.[dev]'
	@touch $(VENV)/.run $@

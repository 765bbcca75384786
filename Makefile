# `make help` lists what there is. Everything runs in .venv, made from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECKOV := .venv-checkov/bin/checkov
VECTORS := $(wildcard ../shared/vectors)
CRDS := $(wildcard ../shared/crds)
PACKAGES := trmkit trainer trmctl workflows

.DEFAULT_GOAL := help
BUILDER ?= $(shell command -v docker || command -v buildah)
BASE ?= python:3.11-slim-bookworm
TORCH ?= cpu
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' trmkit/__init__.py)
.PHONY: help setup demo observe tools test test-full test-cluster lint bench image chart lock docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv and install everything, when something changed

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV): some minutes, about 2 GB"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[train,llm,cluster,controller,dev]'
	@touch $@
	@echo "installed; 'source $(BIN)/activate' puts trmctl on your path"

demo: setup  ## Train, score and report the demo; with STORAGE=s3 through an S3 server on this machine
	$(if $(filter s3,$(STORAGE)),$(BIN)/python -m tools.demo_s3,$(BIN)/trmctl run -c configs/arc-demo.yaml)

observe: setup  ## Train a small run and watch it: a page in the browser, and a Prometheus if one is installed
	$(BIN)/python -m tools.observe $(OBSERVE)

tools: setup  ## Install the programs that tests start beside Python's (as root on Debian; elsewhere say which)
	@sh tools/programs.sh

test: tools  ## Run the tests
	@$(if $(VECTORS),echo "with the reference vectors in $(VECTORS)",echo "without reference vectors: there is no ../shared/vectors")
	$(if $(VECTORS),TRM_VECTORS=$(abspath $(VECTORS))) $(if $(CRDS),TRM_CRDS=$(abspath $(CRDS))) $(BIN)/python -m pytest -q -n 2

$(CHECKOV):
	$(PYTHON) -m venv .venv-checkov && .venv-checkov/bin/python -m pip install -qq --disable-pip-version-check checkov==3.3.30

test-full: tools $(CHECKOV)  ## Run the tests and the long batteries
	@$(if $(VECTORS),echo "with the reference vectors in $(VECTORS)",echo "without reference vectors: there is no ../shared/vectors")
	$(if $(VECTORS),TRM_VECTORS=$(abspath $(VECTORS))) $(if $(CRDS),TRM_CRDS=$(abspath $(CRDS))) TRM_CHECKOV=$(abspath $(CHECKOV)) $(BIN)/python -m pytest -q -n 2 -m 'not cluster and not image'

test-cluster: setup  ## Run the suite for a real cluster; KUBECONFIG and TRM_TEST_IMAGE say which (docs/testing-on-a-cluster.md)
	@test -n "$(KUBECONFIG)" || test -f /var/run/secrets/kubernetes.io/serviceaccount/token || { echo "KUBECONFIG is not set: the kubeconfig of a cluster to test on (docs/testing-on-a-cluster.md)" >&2; exit 1; }
	@test -n "$(TRM_TEST_IMAGE)" || { echo "TRM_TEST_IMAGE is not set: the trainer's image, as the cluster's machines name it" >&2; exit 1; }
	$(BIN)/python -m pytest -m cluster tests/cluster -v -rs -n 0 $(PYTEST)

lint: setup  ## Check style, types, imports, sizes and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_sizes.py $(PACKAGES) tests tools docs benchmarks helm
	$(BIN)/python -m docs.generate --check
	$(BIN)/hadolint Dockerfile

bench: setup  ## Run every benchmark, then print one table; BENCH="--only a,b --baseline DIR", DIR: a checkout of the reference
	$(BIN)/python benchmarks $(BENCH)

image:  ## Build the images trm and trmctl (:latest and the version) with docker or buildah; TORCH=cuda, BASE=image@digest
	@test -n "$(BUILDER)" || { echo "neither docker nor buildah is installed" >&2; exit 1; }
	for target in trainer trmctl; do name=$$(test $$target = trainer && echo trm || echo trmctl); \
	  $(BUILDER) build $(BUILD_OPTIONS) --target $$target \
	  --build-arg BASE=$(BASE) --build-arg TORCH=$(TORCH) --build-arg COMMIT=$(COMMIT) --build-arg VERSION=$(VERSION) \
	  -t $$name:latest . && $(BUILDER) tag $$name:latest $$name:$(VERSION) || exit 1; done

chart: setup  ## Pack the Helm chart into dist/, the same bytes every time
	$(BIN)/python -m tools.chart

lock: setup  ## Write requirements/*.txt, what the images install, from constraints.txt
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tools.lock

docs: setup  ## Write the generated pages and templates again
	$(BIN)/python -m docs.generate

clean:  ## Remove .venv, caches and build output; runs and data stay
	rm -rf $(VENV) .venv-checkov build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make` alone lists the commands. Everything runs from .venv, built from requirements.lock by the first command that needs it.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# No tool here may call home.
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo experiment-demo up down test check format images base-image bench experiment-bench captioner lock chart kind-up e2e clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Sightline needs Python 3.11: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m charts.tooling.programs > /dev/null
	@touch $@

setup: $(READY) ## build .venv from the lock

demo: $(READY) ## run the whole system once on this machine and show what it does
	$(BIN)/sightline demo

experiment-demo: $(READY) ## replay six experiments whose truth is known, with real servers and many crowds; a report of each
	$(BIN)/sightline experiment simulate --seeds 200

up: $(READY) ## start the stack and leave it running
	$(BIN)/sightline up

down: $(READY) ## stop what `make up` started
	$(BIN)/sightline down

test: $(READY) ## run the tests
	$(BIN)/python -m pytest

check: $(READY) ## format, lint, types, import rules, the chart and what is generated from it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m charts.tooling.generate --check
	$(BIN)/python -m charts.tooling.lint

format: $(READY) ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

images: ## build the container images: make images BUILDER=buildah ROLES="transformer ranker" (see serving/images/README.md)
	@serving/images/build.sh

base-image: ## make the images' base from Debian's packages, for machines without a registry: make base-image NAME=localhost/base:1
	@serving/images/base-image.sh $(or $(NAME),localhost/sightline-base:bookworm)

bench: $(READY) ## measure speed and memory beside what each is compared to
	$(BIN)/sightline bench

experiment-bench: $(READY) ## ways to decide on a rollout side by side, what the statistics promise, sums of many users
	$(BIN)/python -m serving.rollout.bench.rules
	$(BIN)/python -m serving.rollout.bench.simulate --runs 1000
	$(BIN)/python -m serving.rollout.bench.analysis
	$(BIN)/python -m serving.rollout.bench.evidence

captioner: $(READY) ## train the tiny captioner again from rendered scenes
	$(BIN)/python -m training.captioner.run

lock: ## pin every dependency again (torch keeps its public version)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --allow-unsafe --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock.new pyproject.toml
	sed -i -e 's/+cpu$$//' -e '/^sightline @/d' requirements.lock.new
	mv requirements.lock.new requirements.lock

chart: $(READY) ## write the chart's schema, README, manifests/ and snapshots from its values
	$(BIN)/python -m charts.tooling.generate

kind-up: ## a kind cluster with the whole stack in it (docker, kind and internet; OPERATORS=1 adds KServe and KubeRay)
	manifests/clusters/kind-up.sh $(if $(OPERATORS),--operators)

e2e: $(READY) ## test the chart on a cluster: make e2e KUBECONFIG=~/.kube/config E2E=--images-loaded
	@test -n "$(KUBECONFIG)" || { echo "name the cluster: make e2e KUBECONFIG=path" >&2; exit 1; }
	$(BIN)/python -m pytest tests/e2e -m cluster --kubeconfig "$(KUBECONFIG)" $(E2E)

clean: ## remove what runs have left (.sightline), not the environment
	rm -rf .sightline

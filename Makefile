# `make` alone lists the commands. Everything runs from .venv, built from requirements.lock by the first command that needs it.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Of the tests: each runs whole folders, which share servers.
PROCESSES ?= 2

# No tool here may call home.
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo experiment-demo up down test test-again check format images base-image bench experiment-bench captioner lock audit audit-lock sbom pin-images chart kind-up e2e clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Sightline needs Python 3.11: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m serving.stack.install $(VENV)
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

test: $(READY) ## run the tests, in two processes (make test PROCESSES=0 for one)
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --no-loadscope-reorder

test-again: $(READY) ## run those tests that failed the last time, one after the other
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

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
	$(BIN)/python -m serving.rollout.bench.guardrails --runs 100
	$(BIN)/python -m serving.rollout.bench.analysis
	$(BIN)/python -m serving.rollout.bench.evidence

captioner: $(READY) ## train the tiny captioner again from rendered scenes
	$(BIN)/python -m training.captioner.run

lock: ## pin every dependency again, each with its files' digests (torch by its line in pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --extra dev --no-emit-package torch \
	  --no-header --no-annotate --output-file requirements.lock.new pyproject.toml
	mv requirements.lock.new requirements.lock

audit: $(READY) ## security rules on the code, known vulnerabilities of the lock, checkov on the Dockerfile and the rendered profiles
	$(BIN)/python -m charts.tooling.audit

sbom: $(READY) ## bills of materials (CycloneDX) of each image and of everything, and all licences: dist/sbom (ROOTFS=folder of an image)
	$(BIN)/python -m serving.images.sbom --out dist/sbom $(if $(ROOTFS),--rootfs "$(ROOTFS)")

pin-images: $(READY) ## ask registries for digests: of the Dockerfile's bases, or make pin-images VALUES="site.yaml" OUT=digests.yaml
	$(BIN)/python -m charts.tooling.pin_images $(if $(VALUES),--values $(VALUES) --out "$(or $(OUT),digests.yaml)")

audit-lock: ## pin the auditing programs again, apart from the project's own packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --output-file charts/tooling/audit/requirements.lock.new charts/tooling/audit/requirements.in
	mv charts/tooling/audit/requirements.lock.new charts/tooling/audit/requirements.lock

chart: $(READY) ## write the chart's schema, README, manifests/ and snapshots from its values
	$(BIN)/python -m charts.tooling.generate

kind-up: ## a kind cluster with the whole stack in it (docker, kind and internet; OPERATORS=1 adds KServe and KubeRay)
	manifests/clusters/kind-up.sh $(if $(OPERATORS),--operators)

e2e: $(READY) ## test the chart on a cluster: make e2e KUBECONFIG=~/.kube/config E2E=--images-loaded
	@test -n "$(KUBECONFIG)" || { echo "name the cluster: make e2e KUBECONFIG=path" >&2; exit 1; }
	$(BIN)/python -m pytest tests/e2e -m cluster --kubeconfig "$(KUBECONFIG)" $(E2E)

clean: ## remove what runs have left (.sightline), not the environment
	rm -rf .sightline

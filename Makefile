# The words that people and CI type. `make` alone explains them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SDO_CACHE ?= $(HOME)/.cache/sd-operator
export SDO_CACHE
# One uv cache for the virtual environment, outside the checkout.
export UV_CACHE_DIR ?= $(SDO_CACHE)/uv
PYTHON := .venv/bin/python
export PYTHONPATH := .:modelfiles:operator:runtime

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- try it -----------------------------------------------------------------------------------------------------
.PHONY: demo demo-down
demo: ## A cluster if there is none, images, chart, a model and a picture of it
	@python3 demo/run.py up
demo-down: ## Undo `make demo`: the cluster it made, or only its own objects in a cluster that was there before
	@python3 demo/run.py down

# --- the local cluster ------------------------------------------------------------------------------------------
.PHONY: cluster-up cluster-down cluster-status install
cluster-up: ## Start the cluster (KUBE_CONTEXT=name: use that one; Docker: kind; else a real one-node Kubernetes here)
	@hack/cluster up
cluster-down: ## Stop it; nothing of it stays on the machine but its cache
	@hack/cluster down
cluster-status: ## What runs
	@hack/cluster status
install: ## Cluster, images, chart and the demo's model hub
	@hack/install

# --- build ------------------------------------------------------------------------------------------------------
.PHONY: images crds lock docs
images: ## Build the container images with buildah
	@images/build
crds: .venv ## Generate crds/ from the Python models, and the chart's copy
	@$(PYTHON) -m sd_operator.api.crds crds
	@rm -rf charts/sd-operator/files/crds && mkdir -p charts/sd-operator/files && cp -r crds charts/sd-operator/files/crds
docs: .venv ## Generate docs/a1111-compatibility.md and docs/conditions.md from the code's tables
	@$(PYTHON) -m sd_runtime.a1111.compatibility > docs/a1111-compatibility.md
	@$(PYTHON) -m sd_operator.api.reasons > docs/conditions.md
lock: ## Compile requirements/*.txt from pyproject.toml
	@hack/lock

.venv: requirements/dev.txt
	@echo "installing the development environment (7 GB with PyTorch; about two minutes the first time)" >&2
	@uv=$$(hack/uv) && $$uv venv -q --clear --python 3.11 .venv && $$uv pip install -q --python $(PYTHON) --require-hashes -r requirements/dev.txt
	@touch .venv

# --- the demo's models -------------------------------------------------------------------------------------------
.PHONY: demo-models
demo-models: .venv ## Remake demo/models: train, export, measure (about two hours on 2 cores; stop and go on at any time)
	@$(PYTHON) -m demo.remake
# --- check ------------------------------------------------------------------------------------------------------
.PHONY: check fmt unit demo-test localkube-unit e2e test test-soak
fmt: .venv ## Format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
check: .venv ## Format, lint, types, layers, generated files
	@.venv/bin/ruff format --check . && .venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m sd_operator.api.crds --check crds && diff -r crds charts/sd-operator/files/crds
	@$(PYTHON) -m sd_runtime.a1111.compatibility | diff - docs/a1111-compatibility.md
	@$(PYTHON) -m sd_operator.api.reasons | diff - docs/conditions.md
unit: .venv ## Unit tests (minutes)
	@OMP_NUM_THREADS=2 $(PYTHON) -m pytest tests/unit
demo-test: .venv ## The demo's models do what their cards say, and every step that makes them still runs (minutes)
	@$(PYTHON) -m pytest tests/demo
localkube-unit: ## Unit tests of the local cluster's Go code
	@hack/localkube/build --test
e2e: .venv install ## End-to-end tests on the cluster, with the operator installed
	@$(PYTHON) -m pytest tests/e2e -m e2e
test: check unit demo-test localkube-unit e2e ## Everything above: what CI runs

test-soak: .venv ## What takes longer: the local cluster's life, an operator at rest, killed, lied to; fetches that go wrong; the runtime fuzzed and crowded; fuzzing of headers (about 2 hours)
	@hack/cluster down
	@hack/localkube/test
	@hack/install
	@E2E_REST_SECONDS=300 $(PYTHON) -m pytest tests/e2e/test_at_rest.py -m e2e -s
	@$(PYTHON) -m pytest tests/soak -m soak -s

.PHONY: test-gpu
test-gpu: .venv ## What only a GPU can show, on a machine that has one; fails without (about 5 minutes on an H200)
	@$(PYTHON) -m pytest tests/gpu

# --- measure ----------------------------------------------------------------------------------------------------
.PHONY: bench-scale bench-fetch bench-runtime bench-samplers
bench-fetch: .venv ## A file of SIZE=8GiB by the fetcher, by curl and by huggingface_hub; the cost of a resume
	@$(PYTHON) -m benchmarks.fetch --size $(or $(SIZE),8GiB)
bench-scale: .venv cluster-up ## Time, cost and writes of COUNT=1000 instances on fake nodes, beside a bare script
	@$(PYTHON) -m benchmarks.operator --count $(or $(COUNT),1000)
bench-runtime: .venv ## The runtime beside its alternatives; PARTS=overhead,paired,mixed,loading,lora,http for some of it
	@$(PYTHON) -m benchmarks.runtime $(if $(PARTS),--parts $(PARTS))
bench-samplers: .venv ## Every sampler with every schedule, judged; fails where one is far below the best
	@$(PYTHON) -m benchmarks.samplers

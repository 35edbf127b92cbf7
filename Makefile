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
.PHONY: images crds charts manifests lock docs site
images: ## Build the container images with buildah
	@images/build
crds: .venv ## Generate crds/ from the Python models, and the chart's copy
	@$(PYTHON) -m sd_operator.api.crds crds
	@rm -rf charts/sd-operator/files/crds && mkdir -p charts/sd-operator/files && cp -r crds charts/sd-operator/files/crds
charts: .venv ## Generate each chart's README and schema from its values.yaml
	@hack/charts
manifests: .venv ## Generate kustomize/ and Argo CD's settings from the chart and the Lua scripts
	@$(PYTHON) -m hack.manifests
docs: .venv ## Generate the pages of docs/ that are made from code and charts
	@$(PYTHON) -m docs.generate
site: .venv ## The documentation as a site, in build/site; fails on any warning
	@$(PYTHON) -m sphinx -q -n -W --keep-going -j auto -c docs -d build/site-doctrees . build/site
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
	@hack/charts --check
	@$(PYTHON) -m hack.manifests --check
	@$(PYTHON) -m docs.generate --check
unit: .venv ## Unit tests (minutes)
	@# Without places within lines: to find them, tracebacks parse source, which Python before 3.11.8 cannot in two threads.
	@OMP_NUM_THREADS=2 PYTHONNODEBUGRANGES=1 $(PYTHON) -m pytest tests/unit -n 2 --dist loadfile
demo-test: .venv ## The demo's models do what their cards say, and every step that makes them still runs (minutes)
	@$(PYTHON) -m pytest tests/demo
localkube-unit: ## Unit tests of the local cluster's Go code
	@hack/localkube/build --test
e2e: .venv install ## End-to-end tests on the cluster, with the operator installed
	@$(PYTHON) -m pytest tests/e2e -m "e2e and not long"
test: check unit demo-test localkube-unit e2e ## Everything above: what CI runs

test-soak: .venv ## What takes longer: all end-to-end tests; the local cluster's life, an operator at rest, killed, lied to; fetches that go wrong; the runtime fuzzed and crowded; fuzzing of headers (about 3 hours)
	@hack/cluster down
	@hack/localkube/test
	@hack/install
	@E2E_REST_SECONDS=300 $(PYTHON) -m pytest tests/e2e -m e2e -s
	@$(PYTHON) -m pytest tests/soak -m soak -s

.PHONY: test-gpu
test-gpu: .venv ## What only a GPU can show, on a machine that has one; fails without (about 5 minutes on an H200)
	@$(PYTHON) -m pytest tests/gpu

# --- release ----------------------------------------------------------------------------------------------------
.PHONY: release
# The images that it builds say the commit.
release: export REVISION = $(shell git rev-parse HEAD)
release: .venv ## Everything that a release publishes, into build/release; refuses what is not committed, told and of one version
	@$(PYTHON) -m hack.release --check
	@images/build
	@rm -rf build/sbom && images/sbom >/dev/null
	@$(PYTHON) -m hack.release --sbom build/sbom

# --- measure ----------------------------------------------------------------------------------------------------
.PHONY: bench-scale bench-fetch bench-runtime bench-samplers bench-plugins bench-page
bench-fetch: .venv ## A file of SIZE=8GiB by the fetcher, by curl and by huggingface_hub; the cost of a resume
	@$(PYTHON) -m benchmarks.fetch --size $(or $(SIZE),8GiB)
bench-scale: .venv cluster-up ## Time, cost and writes of COUNT=1000 instances on fake nodes, beside a bare script
	@$(PYTHON) -m benchmarks.operator --count $(or $(COUNT),1000)
bench-runtime: .venv ## The runtime beside its alternatives; PARTS=overhead,paired,mixed,loading,lora,http for some of it
	@$(PYTHON) -m benchmarks.runtime $(if $(PARTS),--parts $(PARTS))
bench-samplers: .venv ## Every sampler with every schedule, judged; fails where one is far below the best
	@$(PYTHON) -m benchmarks.samplers
bench-plugins: .venv ## Every module of every plugin at 512 px, over its socket and as a function; what the contract adds; image sizes
	@SD_POSE_MODELS=$$(hack/pose-models) $(PYTHON) -m benchmarks.plugins
bench-page: .venv ## From opening the page to the first picture, in Chromium, beside the same by the API
	@$(PYTHON) -m benchmarks.page

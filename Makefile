# Two commands from a fresh clone: `make reproduce` and `make test`. Both call `make setup` first.
PYTHON ?= python3
VENV   ?= .venv
CORES  ?= all
PRESET ?=
ARGS   ?=
READY  := $(VENV)/.ready
# What the rules call (dstcl, snakemake) is found in the environment without activating it.
RUN    := PATH="$(abspath $(VENV))/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup setup-integrations reproduce check test lint format docs schema lock dist mlflow demo-remote

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(READY) ## the environment: .venv with everything, pinned by hash

$(READY): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=/path/to/another")'
	@echo "1/4 creating the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "2/4 installing the packages of envs/requirements.lock ($$(grep -c '^[a-z].*==' envs/requirements.lock) at most, about 7 GB with torch): takes about 3 minutes"
	@$(VENV)/bin/pip install -qq --no-compile --no-deps --require-hashes --requirement envs/requirements.lock
	@echo "3/4 compiling them"
	@# What pip does on one core; files that are no Python 3 are left alone, as it leaves them.
	@$(VENV)/bin/python -m compileall -qq -j 0 $(abspath $(VENV))/lib || true
	@echo "4/4 installing dstcl itself, from this folder"
	@$(VENV)/bin/pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "done: the environment $(VENV) is ready"

setup-integrations: $(VENV)/.ready-integrations ## Lightning, Transformers, Accelerate, ONNX and timm on top, for their tests

$(VENV)/.ready-integrations: envs/integrations.lock $(READY)
	@$(VENV)/bin/pip install -qq --no-deps --require-hashes --requirement envs/integrations.lock
	@touch $@

reproduce: setup ## the study: data, training, tables, figures, report, MLflow (PRESET=..., CORES=...)
	@$(RUN) snakemake --cores $(CORES) $(if $(PRESET),--config preset=$(PRESET)) $(ARGS)

check: setup ## the tests that take seconds, for every change: no pipelines, clusters, browsers, servers
	@$(RUN) python -m pytest -n auto --dist worksteal -m "not (slow or pipeline or cluster or browser or server)" $(ARGS)

test: setup ## all tests, several at once (ARGS="-k masks" for some, ARGS="-n 0" for one at a time)
	@$(RUN) python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## formatting, style and types
	@$(RUN) ruff format --check src tests benchmarks examples docs setup.py
	@$(RUN) ruff check src tests benchmarks examples docs setup.py
	@$(RUN) snakefmt --check --compact-diff Snakefile workflow
	@$(RUN) snakemake --lint
	@$(RUN) mypy

format: setup ## format Python and rules
	@$(RUN) ruff format src tests benchmarks examples docs setup.py
	@$(RUN) ruff check --fix src tests benchmarks examples docs setup.py
	@$(RUN) snakefmt Snakefile workflow

docs: setup ## the documentation as a site, site/html/index.html; warnings and dead links are errors
	@$(RUN) python docs/site/pages.py site/pages
	@$(RUN) sphinx-build --quiet --fail-on-warning --keep-going --builder html --conf-dir docs/site site/pages site/html

schema: setup ## write workflow/schemas/params.schema.json from the types
	@$(RUN) dstcl config schema > workflow/schemas/params.schema.json

# The second takes the versions of the first, so that both can be installed into one environment.
COMPILE := $(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
lock: setup ## resolve envs/requirements.lock and envs/integrations.lock anew from pyproject.toml
	@$(VENV)/bin/pip install -qq uv
	@$(COMPILE) --extra study --extra cluster --extra dev --output-file envs/requirements.lock
	@$(COMPILE) --extra integrations --constraint envs/requirements.lock --output-file envs/integrations.lock

# The build backend itself, which needs neither a network nor a front end.
dist: setup ## wheel, sdist and an archive of every finished study, in dist/
	@rm -rf build
	@$(RUN) python -c "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')" > /dev/null
	@rm -rf build
	@for study in $(patsubst %/report.html,%,$(wildcard results/*/report.html)); do $(RUN) dstcl archive $$study --out dist/dstcl-results-$$(basename $$study).zip || exit 1; done
	@ls dist

demo-remote: setup ## push and pull of a tiny study through a DVC remote, in a temporary folder
	@$(RUN) bash workflow/demo-remote.sh

# The database is not versioned: it is rebuilt where pulled results are newer.
mlflow.db: $(wildcard results/*/mlflow.json) | setup
	@for file in $^; do $(RUN) MLFLOW_TRACKING_URI=sqlite:///mlflow.db dstcl track "$${file%/mlflow.json}"; done
	@touch $@

# MLflow's first page does not lead to runs of this kind: the links printed first do.
UI := http://127.0.0.1:5000
mlflow: setup mlflow.db ## the MLflow UI, on this machine alone; prints the page of each study
	@$(RUN) MLFLOW_TRACKING_URI=sqlite:///mlflow.db dstcl track --links $(UI)
	@$(RUN) DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts --host 127.0.0.1 --port 5000 --workers 1

# Everything a person or CI runs. `make` alone prints this list.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PACKAGES := contracts rollout registry evaluation serving controlplane
# What we start must not talk to anybody: no telemetry of libraries, no model hub.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE := 1
export ANONYMIZED_TELEMETRY := false
# Threads that wait must not spin on cores that others need: torch in two processes takes many times as long.
export OMP_WAIT_POLICY := PASSIVE
# Commands, workers and tests are processes of their own: each would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help system demo test test-fast coverage check format bench bench-core bench-store bench-web bench-evaluation bench-registry bench-serving bench-gateway bench-controller simulate docs ui-shots install lock clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv with everything that demo, tests and checks need

# Debian's packages that tests and benchmarks are about; where they can't be installed, the tests that need one say so and are skipped.
SYSTEM_PACKAGES := tesseract-ocr haproxy wrk chromium postgresql prometheus
SYSTEM_COMMANDS := tesseract haproxy wrk chromium initdb promtool
system:
	@for command in $(SYSTEM_COMMANDS); do PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr " " :)" command -v $$command >/dev/null || missing=1; done; \
	 if [ -n "$$missing" ]; then \
	   sudo=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	   { $$sudo apt-get update -q && $$sudo apt-get install -y -q --no-install-recommends $(SYSTEM_PACKAGES); } >/dev/null 2>&1 \
	   || echo "not installed: $(SYSTEM_PACKAGES) (Debian's packages); what needs them is skipped"; fi

# torch comes first and pinned: asked for through another package it may bring another build.
$(INSTALLED): pyproject.toml constraints.txt tests/web/package-lock.json | system
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@npm ci --silent --no-audit --no-fund --prefix tests/web >/dev/null 2>&1 || echo "not installed: axe-core (npm); the pages' accessibility is not tested"
	@touch $@

demo: $(INSTALLED) ## the main job, live in this terminal: eight rollouts under load, good ones promoted, bad ones stopped; KEEP=1 leaves all up
	@$(BIN)/roost demo run $(if $(KEEP),--keep)

# The slow ones are whole demos, real workers and simulations: processes of their own, so they come last, two at a time.
test: $(INSTALLED) ## all tests, the slow ones too
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --durations=15

test-fast: $(INSTALLED) ## the tests that take seconds
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

coverage: $(INSTALLED) ## the quick tests, with the lines and branches that they miss
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow' --cov --cov-report=term-missing:skip-covered

check: $(INSTALLED) ## lint, format, types, the dependency rule, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(INSTALLED) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-core bench-evaluation bench-registry bench-serving bench-gateway bench-web ## all benchmarks

bench-core: $(INSTALLED) ## the decision core beside its peers (under 10 minutes)
	$(BIN)/python -m benchmarks.decision_core --jobs 2 --out build/bench-core

bench-registry: $(INSTALLED) ## recipes, the catalogue with 10 000 versions, the capacity model
	$(BIN)/python -m benchmarks.registry_recipes --out build/bench-registry
	$(BIN)/python -m benchmarks.registry_catalogue --out build/bench-registry
	$(BIN)/python -m benchmarks.registry_capacity --out build/bench-registry

bench-serving: $(INSTALLED) ## a worker beside the bare pipeline: pictures a second, batches, p95
	$(BIN)/python -m benchmarks.serving --out build/bench-serving

bench-gateway: $(INSTALLED) ## the gateway beside HAProxy: requests per CPU-second, added latency; needs wrk
	$(BIN)/python -m benchmarks.gateway --out build/bench-gateway

bench-evaluation: $(INSTALLED) ## images to tell versions apart, scorers' cost, drift detectors, the weekly report
	$(BIN)/python -m benchmarks.paired
	$(BIN)/python -m benchmarks.scorers
	$(BIN)/python -m benchmarks.drift
	$(BIN)/python -m benchmarks.weekly_report

bench-web: $(INSTALLED) ## the rollout page beside one made with plotly.js: size, first chart; delay and cost of live pages
	$(BIN)/python -m benchmarks.web --out build/bench-web

bench-store: $(INSTALLED) ## the stores on SQLite and PostgreSQL (a few minutes)
	$(BIN)/python -m benchmarks.store

bench-controller: $(INSTALLED) ## a thousand living rollouts, one tick a second: the share of a core
	$(BIN)/python -m benchmarks.controller

simulate: $(INSTALLED) ## 200 simulated weeks with kills, stops and outages, and 20 on PostgreSQL; goes on where it was ended
	@mkdir -p build
	$(BIN)/python -m tests.simulation --seeds 200 --resume --log build/weeks-sqlite.jsonl
	$(BIN)/python -m tests.simulation --seeds 20 --first 5000 --postgresql --resume --log build/weeks-postgresql.jsonl

docs: $(INSTALLED) ## write the reference tables, build the documentation into site/; warnings are errors
	$(BIN)/python docs/generate/tables.py
	$(BIN)/python docs/generate/api.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

ui-shots: $(INSTALLED) ## the pictures that README and docs show
	rm -rf build/demo
	$(BIN)/roost demo run --plain --home build/demo
	$(BIN)/roost demo picture --home build/demo --out docs/images/rollback.svg
	$(BIN)/python -m benchmarks.web_pictures --home build/demo --out docs/images

lock: ## resolve all extras anew in a fresh environment and write constraints.txt
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip setuptools
	build/lock/bin/pip install --quiet 'torch>=2.13,<2.14'
	build/lock/bin/pip install --quiet '.[dev,postgres,gpu,ray,openvino]'
	@{ echo '# Versions that work together; written by `make lock`.'; \
	   build/lock/bin/pip freeze --all --exclude roost | sed -E 's/\+cpu$$//' ; } > constraints.txt

clean: ## remove what was built, tests' and demo's leftovers; .venv stays
	rm -rf build dist site htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .roost
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

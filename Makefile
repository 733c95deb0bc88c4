# Every target works from a clean clone and twice in a row.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := ops/dev/constraints.txt
export PYTHONWARNINGS ?=
unexport PYTHONDONTWRITEBYTECODE # the tests start many processes, each of which would compile everything anew
# One test process more than cores, because tests also wait; from three to five: each may start a Kafka broker, a Redis
# and a browser of its own.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 2 ] && n=2; [ $$n -gt 4 ] && n=4; echo $$((n + 1)))
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Whose torch `make gpu` uses: that of the virtual environment if there is one, else what the machine has.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

# How long `make soak` puts the service under load and faults.
MINUTES ?= 120

# The tools of `make release`, apart from what is released.
RELEASE := .cache/release

.PHONY: help install services demo test quick soak lint bench gpu protos dashboards release clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.demo: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	bash ops/dev/install.sh $(BIN)/python $(CONSTRAINTS) demo,report
	touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	bash ops/dev/install.sh $(BIN)/python $(CONSTRAINTS) demo,report,dev
	touch $@ $(VENV)/.demo

install: $(VENV)/.dev  ## the virtual environment, with everything for development

services: ## what the tests need beside Python: the Kafka jars (Maven), Redis, Prometheus, Chromium (Debian packages), Helm (Go)
	bash ops/dev/services.sh

demo: $(VENV)/.demo  ## digits and clicks as drifting streams, learned while they are served (KEEP=1 stays up)
	$(BIN)/thalweg demo $(if $(KEEP),--keep)

test: install services  ## all tests, with the real Kafka, Redis, Prometheus and Chromium
	$(PYTEST) $(PYTEST_ARGS)

quick: install  ## a minute of tests: no other services, no processes of ours, one variant of each learner
	THALWEG_SIMULATION_SEEDS=100 $(PYTEST) -m "not (slow or kafka or redis or prometheus or registry or browser or helm)" $(PYTEST_ARGS)

soak: install services  ## fuzzed records, two hours of load and faults, a quarter of that on several hosts (MINUTES=5 for less)
	$(BIN)/python -m tests.soak.fuzz --seconds $$(($(MINUTES) * 60))
	$(BIN)/python -m tests.soak.run --minutes $(MINUTES)
	$(BIN)/python -m tests.soak.topology --minutes $$(($(MINUTES) / 4 + 1))

lint: install  ## formatting, style, types, and that the generated stubs are current
	$(BIN)/ruff format --check . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	$(BIN)/ruff check .
	$(BIN)/mypy
	bash ops/dev/protos.sh --check

bench: install services  ## the ratios of docs/benchmarks.md, measured here
	$(BIN)/python -m benchmarks

gpu:  ## on a machine with a GPU: the tests of devices there, recovery, and the tables of docs/gpu.md
	$(GPU_PYTHON) -m benchmarks.gpu

protos: install  ## regenerate proto/*_pb2*.py
	bash ops/dev/protos.sh

dashboards: install  ## write ops/grafana/dashboards/*.json anew
	$(BIN)/python -m thalweg.ops.dev.dashboards

$(RELEASE)/.tools: $(CONSTRAINTS)
	test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) cyclonedx-bom pip-audit
	touch $@

release: install $(RELEASE)/.tools  ## dist/: distributions, bill of materials, audit, SHA-256 sums (UNAUDITED=1: the audit may fail to be made)
	$(BIN)/python -m thalweg.ops.dev.release --tools $(RELEASE)/bin $(if $(UNAUDITED),--unaudited)

clean:
	rm -rf .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache

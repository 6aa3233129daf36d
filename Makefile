# Everything a developer does. Needs Python 3.11 or newer (named by PYTHON, or found) and make; nothing else.

.PHONY: help setup demo up test test-s3 lint bench sweep chaos fuzz mutations manifests vendor screenshots lock

PYTHON ?=
UV_VERSION = 0.13.9
BIN = .venv/bin
READY = .venv/ready
UPLOT ?= 1.6.32
# Tests that run at once, each with a broker of its own; 0: one after the other.
WORKERS ?= 2
VENDOR = web/static/vendor
MINIO ?= $(HOME)/.cache/salesviews/bin/minio
SOURCES = salesviews sinks processors web tests benchmarks

help:
	@echo 'make demo    the whole pipeline on simulated sales, with a dashboard; Ctrl-C ends it'
	@echo 'make up      the same without the simulated sales'
	@echo 'make test    format, lint, types and tests: WORKERS=2 at once, 0 one by one; BROWSER=path, or found or brought'
	@echo 'make test-s3  the tests on an object store, which is built with Go'
	@echo 'make lint    format, lint and types only'
	@echo 'make bench   the whole product on real and made sales, all figures checked: INPUT="tpch wide"'
	@echo 'make sweep   crashes at every step of the checkpoints, several times over: ROUNDS=2 SEED=4'
	@echo 'make chaos   everything goes wrong at random, under load: SECONDS=120 SEED=random'
	@echo 'make fuzz    random messages through the parser, against the witness: SECONDS=60 SEED=random'
	@echo 'make mutations  plants defects, each of which a test must catch'
	@echo 'make manifests  compares how the tests render k8s/ with kubectl (which it needs)'
	@echo 'make vendor  the chart library of the page, from npm: UPLOT=1.6.32'
	@echo 'make screenshots  the dashboard in its main states, into build/screenshots: BROWSER=path'
	@echo 'make setup   .venv with the locked packages (the others do it when needed)'
	@echo 'make lock    newest versions into requirements.lock'
	@echo 'Another Python: make setup PYTHON=/path/to/python3.12'

setup: $(READY)

demo: $(READY)
	$(BIN)/salesviews demo

up: $(READY)
	$(BIN)/salesviews up

test: $(READY)
	-@PYTHONPATH=. $(BIN)/python tests/prerequisites.py
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

test-s3: $(READY) $(MINIO)
	MINIO=$(MINIO) $(BIN)/pytest --s3 tests/s3

$(MINIO):
	@echo 'Building a store for the tests (Go is needed; some five minutes, once)'
	GOBIN=$(dir $(MINIO)) go install github.com/minio/minio@latest

lint: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/whole.py $(foreach input,$(INPUT),--input $(input))

sweep: $(READY)
	$(BIN)/pytest tests/integration/test_crash_points.py tests/integration/test_crashes_of_stages.py \
		--sweep $(or $(ROUNDS),2) --sweep-seed $(or $(SEED),4)

chaos: $(READY)
	PYTHONPATH=.:tests $(BIN)/python -m chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

fuzz: $(READY)
	PYTHONPATH=. $(BIN)/python tests/fuzz.py $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

mutations: $(READY)
	$(BIN)/python -u tests/mutations.py

manifests: $(READY)
	PYTHONPATH=. $(BIN)/python tests/manifests.py

vendor:
	@set -eu; \
	folder=$$(mktemp -d); \
	trap 'rm -rf "$$folder"' EXIT; \
	npm pack --silent --pack-destination "$$folder" uplot@$(UPLOT) >/dev/null; \
	tar -xzf "$$folder"/uplot-$(UPLOT).tgz -C "$$folder"; \
	cp "$$folder"/package/dist/uPlot.iife.min.js "$$folder"/package/dist/uPlot.min.css $(VENDOR)/; \
	cp "$$folder"/package/LICENSE $(VENDOR)/uPlot.LICENSE

screenshots: $(READY)
	PYTHONPATH=.:tests $(BIN)/python tests/web/browser/screenshots.py build/screenshots

lock: $(READY)
	$(BIN)/uv pip compile --system-certs --quiet --universal --upgrade --generate-hashes --no-header \
		--extra broker --extra dev --output-file requirements.lock pyproject.toml

$(READY): requirements.lock pyproject.toml
	@set -eu; \
	candidates='$(PYTHON)'; \
	for python in $${candidates:-python3 python3.13 python3.12 python3.11 python3.14}; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found="$$python"; break; \
		fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo "No Python of at least 3.11: $${candidates:-none was found}." >&2; \
		echo 'Install one, or name it: make setup PYTHON=/path/to/python3' >&2; \
		exit 1; \
	fi; \
	echo "Preparing .venv with $$("$$found" --version) (a minute or two the first time)"; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "$$found cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
		"$$found" -m venv --clear .venv; \
	fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	$(BIN)/uv pip install --system-certs --python $(BIN)/python --require-hashes --requirement requirements.lock; \
	$(BIN)/uv pip install --system-certs --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	if ! $(BIN)/salesviews broker --download; then \
		echo 'The demo and the tests need this Kafka; the rest of .venv is ready.' >&2; \
	fi; \
	touch $(READY)

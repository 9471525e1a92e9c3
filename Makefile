# `make demo` and `make test` work on a fresh machine: each installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# uv from PATH, else a private copy installed by pip; `--target` is allowed under PEP 668 too.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Without bytecode files, every short-lived `rollbook` process would compile all its imports.
export PYTHONDONTWRITEBYTECODE :=
QUIX := scripts/bench/peers/quix_environment
SYNC := sync --frozen --quiet --compile-bytecode

.PHONY: help setup demo check types pure test test-deep nemesis soak coverage coverage-unit lock-check audit sbom bench plots screenshots docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.uv/bin/uv:
	@python3 -c 'import sys; sys.exit("rollbook needs Python 3.11 or newer; python3 is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv uv

setup: $(UV) ## create the virtual environment .venv from uv.lock
	@$(UV) $(SYNC)

demo: setup ## show all of rollbook on real servers, and leave it running
	@.venv/bin/rollbook demo

check: setup ## format, lint, types, import contract, pure tests: within a minute
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	@$(MAKE) --no-print-directory --jobs 2 --output-sync types pure

# mypy uses one core, and starts when the tests do.
types:
	.venv/bin/mypy
	.venv/bin/lint-imports

pure:
	.venv/bin/pytest -n 2 tests/unit

# Four workers on two sets of servers, one of them to be taken away: the tests mostly wait.
# The files that take longest come first, so that no worker is left alone with one of them.
SERVER_TESTS := -n 4 --dist loadfile --no-loadscope-reorder \
	tests/faults tests/upgrade tests/integration/scripts tests/integration/projectors/versions tests/integration

# What users see, with a login for each process; see tests/started/roles.py.
SECURE_TESTS := -n 2 --dist loadfile tests/integration/access/test_services.py \
	tests/integration/console tests/integration/docs/test_http_page.py tests/integration/scripts/test_secrets.py::test_a_stack_keeps_its_passwords_in_private_files \
	$(addprefix tests/integration/producers/,cli client importer service handler/test_handler.py) \
	$(addprefix tests/integration/projectors/,cli history/test_history.py service versions/test_visibility.py)

test: check ## everything, on real servers it starts itself
	.venv/bin/pytest --durations 25 $(SERVER_TESTS)

test-deep: setup ## every property test, schedule and kill point in depth: hours
	ROLLBOOK_TEST_DEEP=1 .venv/bin/pytest -n 2 tests/unit
	ROLLBOOK_TEST_DEEP=1 .venv/bin/pytest --durations 50 $(SERVER_TESTS)
	ROLLBOOK_TEST_SECURE=1 .venv/bin/pytest $(SECURE_TESTS)

# Servers that die are started again, which takes long on a busy machine: hence the long waits.
SEED ?= 1
SEEDS ?= 1
nemesis: setup ## break real servers and processes under load and check what clients saw: SEEDS=20 or SEED=7
	ROLLBOOK_TEST_DEEP=1 .venv/bin/python -m tests.faults.nemesis --seed $(SEED) --seeds $(SEEDS) \
		--table build/nemesis.ndjson

MINUTES ?= 60
soak: setup ## keep a constant load with faults, and check that nothing grows: MINUTES=60
	ROLLBOOK_TEST_DEEP=1 .venv/bin/python -m tests.faults.soak --minutes $(MINUTES)

# Each process writes a file; `coverage combine` adds them up.
define REPORT_COVERAGE
.venv/bin/coverage combine --quiet
.venv/bin/coverage html --quiet
.venv/bin/coverage report --format=markdown > build/coverage/coverage.md
.venv/bin/coverage report
endef

coverage: setup ## run all tests with coverage; reports in build/coverage/
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest -n 2 tests/unit
	.venv/bin/coverage run -m pytest $(SERVER_TESTS)
	$(REPORT_COVERAGE)

coverage-unit: setup ## the same for the pure tests alone
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest -n 2 tests/unit
	$(REPORT_COVERAGE)

lock-check: $(UV) ## fail if a uv.lock does not match its pyproject.toml
	@$(UV) lock --check
	@$(UV) lock --check --project $(QUIX)

# Fails as well if the advisories cannot be read: packages that were not looked up are errors.
audit: $(UV) ## look for known vulnerabilities in all locked packages; needs the advisories of PyPI and npm
	@$(UV) $(SYNC) --group audit
	@mkdir -p build
	@$(UV) export --frozen --quiet --no-emit-project --all-extras --all-groups --output-file build/audited.txt
	@$(UV) export --frozen --quiet --project $(QUIX) --output-file build/audited-quix.txt
	.venv/bin/pip-audit --requirement build/audited.txt --require-hashes --disable-pip --strict
	.venv/bin/pip-audit --requirement build/audited-quix.txt --require-hashes --disable-pip --strict
	@if command -v npm > /dev/null; then npm audit --package-lock-only --prefix tests/integration/docs/typescript; \
	else echo "npm is missing: the packages of the client in TypeScript were not looked up" >&2; fi

sbom: $(UV) ## write the list of all packages that rollbook and its extras install: CycloneDX
	@mkdir -p build
	@$(UV) export --frozen --quiet --no-default-groups --all-extras --preview-features sbom-export \
		--format cyclonedx1.5 --output-file build/rollbook.cdx.json

bench: $(UV) ## measure rollbook and its peers on the running stack, write docs/performance.md: an hour
	@$(UV) $(SYNC) --group benchmark
	.venv/bin/rollbook bench all --figures docs/figures
	.venv/bin/python -m scripts.bench.report.page

plots: setup ## write the tables of docs/performance.md and its pictures from the last benchmarks
	@.venv/bin/python -m scripts.bench.report.page

screenshots: setup ## take the pictures of the console on the local stack; needs Chromium
	@.venv/bin/python -m docsgen.screenshots

docs: $(UV) ## build the site into build/docs; a warning or a broken link is an error
	@$(UV) $(SYNC) --group docs
	.venv/bin/python -m docsgen
	.venv/bin/python -m sphinx -b html -W --keep-going -q docs build/docs
	.venv/bin/python -m docsgen.site build/docs

clean: ## remove the virtual environment and caches of this folder
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build

# Everything works from a bare checkout with Python 3.11 or newer alone; `make demo` is the place to begin.
PYTHON ?= python3
BIN := .venv/bin
REPORTS := .candor/reports
WEB := services/consent/web/node_modules/.package-lock.json
SHOP := examples/shop/node_modules/.package-lock.json
LOCK := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
# The locks name everything, so nothing is resolved: pip's resolver would see what was released since they were made, and
# refuse a locked package where another one asks for it with an extra.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help demo up down status clean test test-fast check check-static check-unit format bench bench-masking \
	faults lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime $(WEB) $(SHOP) ## set everything up, play a shop through it, show what happened
	@$(BIN)/candor demo

up: .venv/runtime $(WEB) ## start Kafka, PostgreSQL and the services
	@$(BIN)/candor up

down: .venv/runtime ## stop them; the data stays
	@$(BIN)/candor down

status: .venv/runtime ## show every process; exit code 0 only when all are ready
	@$(BIN)/candor status

clean: .venv/runtime ## stop them and delete the data, logs and keys
	@$(BIN)/candor clean --yes

# Most tests wait more than they work, so three at a time; those marked `alone` after them, whatever came of the first.
# The last line adds both up.
test: .venv/dev $(WEB) $(SHOP) tests/sdk/node_modules/.package-lock.json .venv/java-sdks ## the whole test suite, on a Kafka and a PostgreSQL of its own
	@mkdir -p $(REPORTS); together=0; alone=0; \
	$(BIN)/pytest -m "not alone" --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--junitxml $(REPORTS)/together.xml || together=$$?; \
	$(BIN)/pytest -m alone --junitxml $(REPORTS)/alone.xml || alone=$$?; \
	$(BIN)/python -m tests.support.summary $(REPORTS)/together.xml $$together $(REPORTS)/alone.xml $$alone

test-fast: .venv/dev ## unit and contract tests
	$(BIN)/pytest tests/unit tests/contract

check: .venv/dev ## format, lint, types, import rules, schemas, unit tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-static check-unit

check-static: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m services.kernel.codec --check

check-unit: .venv/dev
	$(BIN)/pytest tests/unit

format: .venv/dev ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev ## the benchmark; one JSON object a line
	@$(BIN)/python -m tests.bench

bench-masking: .venv/dev ## how well and how fast card data are found; one JSON object a line
	@$(BIN)/python -m tests.bench.masking

faults: .venv/dev ## the long fault tests: more kills, pauses and restarts, hostile requests and drawn examples
	CANDOR_HYPOTHESIS=explore $(BIN)/pytest -n 2 tests/unit
	CANDOR_FAULT_ROUNDS=$${CANDOR_FAULT_ROUNDS:-20} CANDOR_HOSTILE=20000 $(BIN)/pytest tests/faults tests/e2e/test_hostile.py

lock: .venv/dev ## lock the newest packages that requirements/*.in allow
	for part in runtime demo dev; do $(LOCK) --upgrade requirements/$$part.in -o requirements/$$part.txt; done

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Candor needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv --clear .venv

.venv/runtime: .venv/bin/python requirements/runtime.txt requirements/demo.txt pyproject.toml
	@printf '  %-34s ' 'Python packages'; began=$$(date +%s); \
	$(INSTALL) -r requirements/runtime.txt -r requirements/demo.txt && \
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable . && \
	printf 'ok %4d s\n' $$(( $$(date +%s) - began ))
	@touch $@

# What /consent.js is built on. Everything else works without it, so a failure is told and tried again the next time.
$(WEB): .venv/runtime services/consent/web/package-lock.json
	@printf '  %-34s ' 'Web packages'; began=$$(date +%s); \
	if said=$$($(BIN)/npm ci --prefix services/consent/web --ignore-scripts --loglevel=error --fetch-retries=1 \
		--fetch-retry-mintimeout=1000 --fetch-timeout=20000 2>&1); \
	then touch $@ && printf 'ok %4d s\n' $$(( $$(date +%s) - began )); \
	else echo 'npm could not fetch them: /consent.js will answer 503'; echo "$$said" | head -4; fi

# What the pages of the demo's shop track with. Without it the demo is played all the same, and the shop stays closed.
$(SHOP): .venv/runtime examples/shop/package-lock.json
	@printf '  %-34s ' "The shop's tracking SDK"; began=$$(date +%s); \
	if said=$$($(BIN)/npm ci --prefix examples/shop --ignore-scripts --omit=optional --loglevel=error --fetch-retries=1 \
		--fetch-retry-mintimeout=1000 --fetch-timeout=20000 2>&1); \
	then touch $@ && printf 'ok %4d s\n' $$(( $$(date +%s) - began )); \
	else printf 'npm could not fetch it: the shop stays closed\n%s\n' "$$said"; fi

# SDKs and a browser for the tests alone, which skip what needs them where the registries can't be reached.
tests/sdk/node_modules/.package-lock.json: .venv/dev tests/sdk/package-lock.json
	@said=$$($(BIN)/npm ci --prefix tests/sdk --ignore-scripts --omit=optional --loglevel=error 2>&1) && touch $@ || \
	case "$$said" in \
		*EUSAGE*|*EINTEGRITY*) echo "$$said"; exit 1;; \
		*) echo 'npm could not fetch the JavaScript SDKs: the tests of them will be skipped';; \
	esac

.venv/java-sdks: .venv/dev tests/sdk/java/jgo.lock.toml
	@$(BIN)/python -m tests.support.java_sdks

.venv/dev: .venv/runtime requirements/dev.txt
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

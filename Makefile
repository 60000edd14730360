# One-word commands. `make up` and `make test` do all of their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
SOURCES := pyproject.toml hatch_build.py $(wildcard protos/hookline/v1/*.proto)

ifdef UV
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
PROFILE ?= default
SETTINGS_default := COMPOSE_PROFILES=default
SETTINGS_small := COMPOSE_PROFILES=small HOOKLINE_LOG=kafka://kafka:9092 HOOKLINE_KAFKA__REPLICATION=1 HOOKLINE_KAFKA__MIN_INSYNC=1

.DEFAULT_GOAL := help
.PHONY: help install up test kafka test-kafka test-faults chaos docker proxies test-compose compose-up compose-down check format docs protos bench fuzz memory first-webhook lock all clean

help: ## what the words do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer; name it: make up PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.runtime: $(BIN)/python requirements.lock $(SOURCES)
	@echo "installing into $(VENV) …" >&2
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.dev ## everything for work on Hookline, into .venv

up: $(VENV)/.runtime ## run Hookline in one process, with the example flows
	@exec $(BIN)/hookline up $(ARGS)

test: $(VENV)/.dev ## the tests that need no Kafka and no Docker
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not kafka and not docker and not chaos" $(ARGS)

# The archive holds the classes that a broker loads: with it the next ones start in half the time.
kafka: .kafka/classes.jsa ## a Kafka for the tests, from Maven Central (needs Maven and Java)

.kafka/.jars: tests/kafka/pom.xml
	@echo "bringing Kafka into .kafka …" >&2
	@rm -rf .kafka
	@mvn -q -B -Dstyle.color=never -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.kafka/lib
	@touch $@

.kafka/classes.jsa: .kafka/.jars | $(VENV)/.dev
	@$(BIN)/python -c 'from tests.brokers import write_archive; write_archive()'

# Without Maven or Java the tests themselves say what is missing, and skip.
KAFKA := $(if $(and $(shell command -v mvn),$(shell command -v java)),kafka)

test-kafka: $(VENV)/.dev $(KAFKA) ## the tests on a real Kafka
	@$(BIN)/python -m pytest -q -m "kafka and not chaos" $(ARGS)

# All that tests/faults/table.py names, and `hookline verify` under kills; the reports of
# the runs are shown at the end.
test-faults: $(VENV)/.dev $(KAFKA) ## every failure that is promised to do no harm, on both logs
	@$(BIN)/python -m pytest -q --durations=10 $$($(BIN)/python -m tests.faults.table) tests/test_verify.py $(ARGS)

chaos: $(VENV)/.dev $(KAFKA) ## the same for longer, from a seed that is drawn; ARGS="--kafka --rounds 50", --brokers, --power-cuts 1000
	@$(BIN)/python -m tests.faults.chaos $(ARGS)

docker: $(VENV)/.dev ## a Docker engine for the tests, where none answers (on Debian, as root)
	@$(BIN)/python -m tests.engine

proxies: $(VENV)/.dev ## nginx and HAProxy for the tests, from Debian's packages, into .proxies
	@$(BIN)/python -m tests.proxies

test-compose: $(VENV)/.dev ## the tests of image and compose file, on a real Docker engine
	@$(BIN)/python -m pytest -q -m docker $(ARGS)

# Tokens are made here, once, and are in no commit; the profile stays the same for what is run by hand.
.env:
	@word() { $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(32))'; }; umask 077; \
	  printf '%s\n' $(SETTINGS_$(PROFILE)) "HOOKLINE_TOKEN=$$(word)" "HOOKLINE_INGRESS__ROUTER_TOKEN=$$(word)" > $@
	@echo "wrote $@: the tokens, and the profile $(PROFILE)" >&2

compose-up: .env ## Hookline on Kafka in containers; PROFILE=small has one broker instead of three
	@case '$(origin PROFILE)' in file) ;; *) grep -qx 'COMPOSE_PROFILES=$(PROFILE)' .env || \
	  { echo ".env has another profile, whose brokers hold its events: to change over, make compose-down and move .env away" >&2; exit 1; }; esac
	@$(COMPOSE) up --detach --build $(ARGS)

compose-down: .env ## stop it; ARGS=--volumes forgets the events too
	@$(COMPOSE) down $(ARGS)

check: $(VENV)/.dev ## format, lint, types, imports, protos: read only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry hookline services
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format -d --exit-code

format: $(VENV)/.dev ## put everything into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd protos && ../$(BIN)/buf format -w

docs: $(VENV)/.dev ## write docs/settings.md anew
	@mkdir -p docs
	@$(BIN)/python -m hookline.cli.reference > docs/settings.md.new && mv docs/settings.md.new docs/settings.md

protos: $(BIN)/python ## generate hookline/v1 anew
	@rm -f $(VENV)/.runtime
	@$(MAKE) --no-print-directory $(VENV)/.runtime

bench: $(VENV)/.dev $(KAFKA) ## the figures of the README, side by side in one run
	@$(BIN)/python -m benchmarks.ingress $(ARGS)
	@$(BIN)/python -m benchmarks.bodies $(ARGS)
	@$(BIN)/python -m benchmarks.refusals $(ARGS)
	@$(BIN)/python -m benchmarks.timing
	@$(BIN)/python -m benchmarks.services $(ARGS)
	@$(BIN)/python -m benchmarks.executions $(ARGS)

fuzz: $(VENV)/.dev ## 100,000 requests made to hurt, at a process of its own; ARGS="--seed 7"
	@$(BIN)/python -m tests.fuzz $(ARGS)

memory: $(VENV)/.dev $(KAFKA) ## what the services hold, after many events and with the broker frozen
	@$(BIN)/python -m benchmarks.upload_memory
	@$(BIN)/python -m benchmarks.memory $(ARGS)

first-webhook: $(VENV)/.dev ## how long a stranger waits: clone, make up, a webhook
	@$(BIN)/python -m benchmarks.first_webhook

lock: ## pin everything anew (needs uv)
	@$(UV) pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --no-strip-extras --python-version 3.11 $(ARGS) pyproject.toml --extra build -o requirements.lock
	@$(UV) pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --no-strip-extras --python-version 3.11 $(ARGS) pyproject.toml --extra build --extra dev -c requirements.lock -o requirements-dev.lock

# Of the table of failures the words before have run all but the seeded ones; those that
# take many minutes are left to test-faults by itself.
all: check test test-kafka ## what CI runs
	@$(MAKE) --no-print-directory test-faults ARGS='-m "chaos and not long"'
	@$(MAKE) --no-print-directory test-compose

clean: ## forget the environment and generated code
	rm -rf $(VENV) .kafka .docker .proxies hookline/v1

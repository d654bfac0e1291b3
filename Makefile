# Everything a person does here, by name. `make` alone lists it.
#
# A fresh machine needs Python 3.11 or newer and make; `make peers` (Debian, as root) adds the real counterparts that
# the tests talk to. The virtual environment is made once and again when the requirements change.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COUNT ?=
NO_START := /usr/sbin/policy-rc.d.certwright
PEBBLE := github.com/letsencrypt/pebble/v2
PEBBLE_VERSION := v2.10.1
VERSITYGW := github.com/versity/versitygw
VERSITYGW_VERSION := v1.8.0
NPM_PEERS := /usr/local/lib/certwright-peers
AXE_VERSION := 4.14.1
OIDC_PROVIDER_VERSION := 9.13.3

# Without bytecode every process that the tests start would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench peers pictures fuzz fuzz-api crash crash-renewals race orders years rotations rotations-kill revocations compromise letters deltas restores token requirements clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(BIN)/certwright ## the living demo, until Ctrl-C
	@$(BIN)/certwright demo

demo: $(BIN)/certwright ## the same, once
	@$(BIN)/certwright demo --once

test: $(VENV)/tests ## the tests; counterparts that are missing are skipped with their reason
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/pytest -q -n 3 --dist loadgroup --no-loadscope-reorder

lint: $(VENV)/tests ## style and types alone
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/tests ## the benchmarks: each figure as a ratio to a floor measured in the same run
	$(BIN)/python -m tests.bench

fuzz: $(VENV)/tests ## mutated requests, in process; COUNT=1000000 is the full campaign
	$(BIN)/python -m tests.fuzz.csr $(or $(COUNT),1000000)

fuzz-api: $(VENV)/tests ## requests generated from the OpenAPI description; COUNT=20000 is the full campaign
	$(BIN)/python -m tests.fuzz.api $(or $(COUNT),20000)

pictures: $(VENV)/tests ## every page and letter, on a phone and a large screen, light and dark; into pictures/index.html
	$(BIN)/python -m tests.pictures

crash: $(VENV)/tests ## kill -9 under load and at every step; COUNT=200 is the full campaign
	$(BIN)/python -m tests.crash.campaign $(or $(COUNT),200)

crash-renewals: $(VENV)/tests ## two replicas renew and are killed with -9; COUNT=200 kills is the full campaign
	$(BIN)/python -m tests.crash.replicas 1000 $(or $(COUNT),200)

race: $(VENV)/tests ## two replicas of two processes do everything at once, one is killed every few seconds; COUNT=20000 is the full campaign
	$(BIN)/python -m tests.crash.race $(or $(COUNT),20000)

orders: $(VENV)/tests ## renewals before a hostile ACME server, over every challenge; COUNT=500 is the full campaign
	$(BIN)/python -m tests.flows.orders $(or $(COUNT),500)

years: $(VENV)/tests ## two simulated years of renewals, outages and clock jumps; COUNT=10000 is the full campaign
	$(BIN)/python -m tests.flows.worlds $(or $(COUNT),10000)

compromise: $(VENV)/tests ## a CA is declared compromised and all it issued is replaced; COUNT=10000 is the full run
	$(BIN)/python -m tests.flows.compromise $(or $(COUNT),10000)

rotations: $(VENV)/tests ## a living mesh through two CA rotations; COUNT=20 clients is the full campaign
	$(BIN)/python -m tests.flows.rotations $(or $(COUNT),20)

rotations-kill: $(VENV)/tests ## the same, with kill -9 of the server at every stage
	$(BIN)/python -m tests.flows.rotations $(or $(COUNT),20) --kill

letters: $(VENV)/tests ## the digests of COUNT=1000 owners, through a server that refuses, drops and stalls, and kill -9
	$(BIN)/python -m tests.flows.letters $(or $(COUNT),1000)

deltas: $(VENV)/tests ## a delta with its base says to OpenSSL what the complete list says, of COUNT=10000 revocations
	$(BIN)/python -m tests.flows.deltas $(or $(COUNT),10000)

restores: $(VENV)/tests ## backups under load of COUNT=1000 issuances, restored: nothing lost, nothing goes back
	$(BIN)/python -m tests.flows.restores $(or $(COUNT),1000)

token: $(VENV)/tests ## a hardware token loses sessions and is pulled out amid COUNT=10000 issuances
	$(BIN)/python -m tests.flows.token $(or $(COUNT),10000)

revocations: $(VENV)/tests ## from revoked to refused at nginx and Mosquitto among 1,000,000; COUNT=100 revocations
	$(BIN)/python -m tests.flows.revocations $(or $(COUNT),100)

# A machine that has a mail system keeps it: two exclude each other in Debian, and Exim's tests are skipped then.
peers: ## the real counterparts that tests talk to (Debian packages, as root); none of them is started
	apt-get update -qq
	@if [ ! -e /usr/sbin/policy-rc.d ]; then printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; touch $(NO_START); fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  openssl nginx-light gnutls-bin default-jdk-headless nodejs postgresql curl wrk strace faketime busybox \
	  haproxy bind9 dovecot-imapd systemd prometheus mosquitto etcd-server chromium fonts-dejavu-core poppler-utils softhsm2 \
	  && if ! command -v npm > /dev/null; then DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm; fi \
	  && if [ ! -e /usr/sbin/sendmail ]; then DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends exim4-daemon-light; fi; \
	  done=$$?; if [ -e $(NO_START) ]; then rm -f /usr/sbin/policy-rc.d $(NO_START); fi; exit $$done
	@if command -v go > /dev/null; then \
	  GOBIN=/usr/local/bin go install $(PEBBLE)/cmd/pebble@$(PEBBLE_VERSION) && \
	  GOBIN=/usr/local/bin go install $(PEBBLE)/cmd/pebble-challtestsrv@$(PEBBLE_VERSION) && \
	  GOBIN=/usr/local/bin go install $(VERSITYGW)/cmd/versitygw@$(VERSITYGW_VERSION) && \
	  (cd tests/tlogcheck && \
	  GOBIN=/usr/local/bin CGO_ENABLED=0 go install -buildvcs=false -trimpath -ldflags='-s -w' .) && \
	  cd tests/apiserver && \
	  GOBIN=/usr/local/bin CGO_ENABLED=0 go install -buildvcs=false -trimpath -ldflags='-s -w' .; \
	else \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pebble; \
	fi
	@npm install --prefix $(NPM_PEERS) --no-audit --no-fund --loglevel=error \
	  axe-core@$(AXE_VERSION) oidc-provider@$(OIDC_PROVIDER_VERSION)

requirements: ## pin the newest versions again, with hashes
	$(PYTHON) -m venv $(VENV)-pin && $(VENV)-pin/bin/pip install -q pip-tools
	$(VENV)-pin/bin/pip-compile -q --upgrade --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header \
	  --extra postgresql --extra lint --extra build -o requirements.txt pyproject.toml
	$(VENV)-pin/bin/pip-compile -q --upgrade --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header \
	  --extra dev --extra postgresql --extra lint --extra build --extra dns-providers --constraint requirements.txt -o requirements-dev.txt pyproject.toml
	rm -rf $(VENV)-pin

clean: ## the virtual environment and what tests leave
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis certwright-demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(BIN)/certwright: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/tests: requirements-dev.txt $(BIN)/certwright
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

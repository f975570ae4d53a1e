.DEFAULT_GOAL := help
.PHONY: help run test check lock clean

PYTHON ?= python3

run: ## Serve the console with demo data on 127.0.0.1:8000 (PORT= changes the port)
	@$(PYTHON) scripts/run.py

test: ## Run the whole test suite (ARGS= are options for pytest)
	@$(PYTHON) scripts/bootstrap.py test
	@.venv/bin/python -m pytest -n auto $(ARGS)

check: ## Lint, format, types, import contracts, templates, migrations equal models
	@$(PYTHON) scripts/bootstrap.py check
	@.venv/bin/python scripts/check.py

lock: ## Make the lock files again (ARGS=--upgrade takes newer versions)
	@$(PYTHON) scripts/lock.py $(ARGS)

clean: ## Remove what was installed; the data in instance/ stays
	rm -rf .venv node_modules static/vendor

help: ## List these
	@sed -n 's/^\([a-z]*\): ## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

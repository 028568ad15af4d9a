PYTHON ?= python3
PROFILE ?= $(or $(CONAN_PROFILE),demo)
UI_PORT ?= 3000
BIN := .venv/bin
INSTALLED := .venv/.installed

export CONAN_HOME ?= $(CURDIR)/conan_home
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export CONAN_PROFILE := $(PROFILE)
# Where the home lies on this machine: itself, or the working copy of its bucket.
HERE = $(if $(findstring ://,$(CONAN_HOME)),$(shell $(BIN)/python -c 'import sys; from conan_assets.bucket.address import local_folder; print(local_folder(sys.argv[1]))' '$(CONAN_HOME)'),$(CONAN_HOME))
UI := make ui$(if $(filter-out demo,$(PROFILE)), PROFILE=$(PROFILE))$(if $(filter-out $(CURDIR)/conan_home,$(CONAN_HOME)), CONAN_HOME=$(CONAN_HOME))
LOOK := $(if $(filter-out demo,$(PROFILE)),CONAN_PROFILE=$(PROFILE) )$(if $(filter-out $(CURDIR)/conan_home,$(CONAN_HOME)),CONAN_HOME=$(CONAN_HOME) )$(BIN)/python -m conan_assets look 1
# Dagster's commands warn that others will take their place, and of arguments of its own that are new.
QUIET := PYTHONWARNINGS=ignore:Function,ignore:Parameter
IN_PROCESS := {"execution": {"config": {"in_process": {}}}}

.PHONY: demo init test quick lint ui screenshots docs format

demo: $(INSTALLED) $(DAGSTER_HOME)/dagster.yaml ## Materialize the whole graph and print the leaderboard
	@$(BIN)/python -m conan_assets.settings
	@$(BIN)/python -m conan_assets.defs.dead_runs
	$(QUIET) $(BIN)/dagster asset materialize -m conan_assets.definitions --select '*' --config-json '$(IN_PROCESS)'
	@cat $(HERE)/leaderboard.md
	@echo
	@cat $(HERE)/outcome.md
	@echo "Leaderboard:    $(HERE)/leaderboard.json"
	@echo "Reports:        $(HERE)/assets/round_*/*_report"
	@echo "The negatives:  $(LOOK)"
	@echo "The graph:      $(UI)"

init: $(INSTALLED) ## Write a profile for the documents in FOLDER; ARGS="--endpoint URL --model NAME"
	@$(BIN)/python -m conan_assets init '$(FOLDER)' $(ARGS)

test: $(INSTALLED) ## Run the tests, two files at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

quick: $(INSTALLED) ## Run the tests that take less than a second each: under a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder -m 'not slow'

lint: $(INSTALLED) ## Check formatting, style, types, the rules of the house and the pinned packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
	$(BIN)/python -m conan_assets_tests.audit

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ui: $(INSTALLED) $(DAGSTER_HOME)/dagster.yaml ## Open the graph on http://127.0.0.1:3000
	@$(BIN)/python -m conan_assets.settings --alone
	@$(BIN)/python -m conan_assets.defs.dead_runs
	@echo "The graph:       http://127.0.0.1:$(UI_PORT)/asset-groups"
	@echo "The leaderboard: http://127.0.0.1:$(UI_PORT)/assets/leaderboard"
	@$(QUIET) $(BIN)/dagster dev --host 127.0.0.1 --port $(UI_PORT) -w workspace.yaml --log-level error

screenshots: $(INSTALLED) ## Take the README's pictures of a finished demo, in Chromium
	$(BIN)/python -m conan_assets_tests.ui.screenshots docs/images

docs: $(INSTALLED) ## Write the tables of settings from the schema of a profile
	$(BIN)/python -m conan_assets_tests.settings_page

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; call make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: | dagster.yaml
	@mkdir -p $(@D)
	@cp dagster.yaml $@

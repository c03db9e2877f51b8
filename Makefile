# distlab's commands. `make quickstart` and `make test` need Python 3.11 or newer and gcc with g++.
PYTHON ?= python3
VENV ?= .venv
# Of gpu-check: gpu, or cpu for its twin.
DEVICE ?= gpu
BIN := $(VENV)/bin

# The arguments of Python that run the quickstart; its pictures are made of the same.
QUICKSTART := -m distlab.launch -m experiment=quickstart framework=torch,tf,paddle

.PHONY: help quickstart test test-fast lint format types fuzz ui ui-login bench gpu-check faults records pictures lock audit clean

help:  ## Show these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What is installed has these versions and hashes; all but torch, whose builds are many.
$(VENV)/locked: requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	touch $@

$(VENV)/installed-cpu: pyproject.toml $(VENV)/locked
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[cpu]'
	touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/locked
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[cpu,dev]'
	touch $@ $(VENV)/installed-cpu

quickstart: $(VENV)/installed-cpu  ## Compare the frameworks on CPU workers, with embedded data
	$(BIN)/python $(QUICKSTART)

test: lint types  ## Install all, check style, types and dependencies, run the whole test suite
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest -n 2

test-fast: $(VENV)/installed-dev  ## Run the quick tests: no Ray, no framework, no training, no plots
	$(BIN)/python -m pytest -n 2 -m 'not slow'

lint: $(VENV)/installed-dev  ## Check lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev  ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed-dev  ## Check types
	$(BIN)/mypy

ui: $(VENV)/installed-cpu  ## Open the MLflow UI on ./mlruns (http://127.0.0.1:5000), without a login
	@echo 'No login: whoever is logged in on this machine can read, change and delete these runs (make ui-login).'
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db

ui-login: $(VENV)/installed-cpu  ## The same behind a login: user admin, MLFLOW_AUTH_ADMIN_PASSWORD at the first start
	$(BIN)/python -m pip install --quiet --editable '.[login]'
	mkdir -p mlruns
	cd mlruns && umask 077 && MLFLOW_DISABLE_TELEMETRY=true \
	MLFLOW_FLASK_SERVER_SECRET_KEY="$${MLFLOW_FLASK_SERVER_SECRET_KEY:-$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}" \
	$(abspath $(BIN))/mlflow server --app-name basic-auth --host 127.0.0.1 --workers 1 --backend-store-uri sqlite:///mlflow.db

fuzz: $(VENV)/installed-dev  ## Give damaged studies and command lines to it: no traceback (minutes)
	PYTHONPATH=tests/support $(BIN)/python tests/support/fuzz/fuzz.py 1000

bench: $(VENV)/installed-cpu  ## Measure distlab against hand-written peers (idle machine, hours)
	$(BIN)/python benchmarks/quickstart_style.py
	$(BIN)/python benchmarks/native_launcher.py
	$(BIN)/python benchmarks/plain_loop.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/study_cost.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/profile_step.py
	$(BIN)/python benchmarks/report_size.py
	$(BIN)/python benchmarks/planted.py

gpu-check:  ## Check backends on a borrowed machine: right, how fast? (PYTHON with NumPy and a framework)
	$(PYTHON) benchmarks/gpu_check/gpu_check.py --device $(DEVICE)

faults: $(VENV)/installed-cpu  ## Kill and stop parts of runs at random moments; what survives (an hour or two)
	$(BIN)/python benchmarks/fault_campaign.py

records: $(VENV)/installed-cpu  ## Make docs/records.md, what each recorded field means, from the schema
	$(BIN)/python docs/make_records.py > docs/records.md

pictures: $(VENV)/installed-cpu  ## Make the README's pictures of the quickstart (idle machine, Chromium)
	$(BIN)/python docs/pictures/make_pictures.py $(QUICKSTART)

lock:  ## Renew requirements.lock, which has hashes (needs uv)
	printf 'hatchling\neditables\n' | uv pip compile --quiet --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-annotate --no-header --extra tf --extra paddle --extra dev pyproject.toml - \
		--output-file requirements.lock

audit:  ## Look for known faults of what requirements.lock names (needs pip-audit and the network)
	pip-audit --disable-pip --requirement requirements.lock

clean:  ## Remove what was built (records in mlruns/ and outputs/ stay)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

# `make demo` and `make test` set up all they need on a fresh machine: a virtual environment with
# the versions of constraints.txt. Nothing else has to be installed than Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test browser lint format docs bench soak clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hpsearch needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/hpsearch run digits --new

test: $(INSTALLED) browser
	$(BIN)/python -m pytest

# Chromium for the tests of pages, where Debian's packages can be installed; they skip without it.
browser:
	command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null; } || \
	  echo 'chromium cannot be installed here: the tests of pages are skipped'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(BIN)/python docs/tools/make_cli_reference.py
	$(BIN)/python docs/tools/make_training_reference.py
	$(BIN)/python docs/tools/make_speed_table.py

# The numbers of README.md and docs/design.md; each prints its record, benchmarks/results/ keeps the
# dated ones, and `make docs` makes README's speed tables from the newest. `make bench DATA=FOLDER`
# has the searches on MNIST and CIFAR-10 too. Not here: benchmarks/gpu.py, which needs a GPU.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/peers.py $(DATA)
	$(BIN)/python benchmarks/peers.py $(DATA) --pruned
	$(BIN)/python benchmarks/limit.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/stacking.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/own.py
	$(BIN)/python benchmarks/parts.py
	$(BIN)/python benchmarks/devices.py
	$(BIN)/python benchmarks/searches.py $(DATA)
	$(BIN)/python benchmarks/coordinator.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/tune.py

# The long suites: the faults of `make test`, many more times, properties on new examples, and an
# hour of faults on the service.
soak: $(INSTALLED)
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile new
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) build *.egg-info

# Two commands are the whole set-up: `make demo` and `make test`. Each installs what it needs.
#
#   make demo      live traffic through a small Kafka: labelled, verified by replay, one label told
#   make test      every test (ARGS="-k golden" to choose)
#   make lint      ruff: rules and format          make types   mypy, strict
#   make bench     the benchmarks, one JSON line each
#   make chaos     kill -9 at random instants under load (KILLS=200), then everything compared
#   make fuzz      spoiled records through the flow (RECORDS=1000000), then the counts compared
#   make lock      requirements.lock again, from pyproject.toml
#   make install   .venv from the lock file        make clean   remove what was made
#
# PYTHON=/path/to/python3.12 chooses the interpreter; without it the first that runs is taken.

MAKEFLAGS += --no-print-directory
PYTHON ?=
ARGS ?=
KILLS ?= 200
RECORDS ?= 1000000
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
STAMP := .venv/.installed

.PHONY: install demo test lint types bench chaos fuzz lock clean

install: $(STAMP)
	@:

# A venv is made anew when the lock file or pyproject.toml changed: what is in it is then exactly
# what the lock file says. The stamp comes last, so that an interrupted install is done again.
$(STAMP): requirements.lock pyproject.toml
	@found=; for python in $(or $(PYTHON),python3.12 python3.11 python3 python); do \
	  if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "labeling needs Python 3.11 or 3.12 (with venv); install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "installing into .venv with $$("$$found" --version)"; \
	"$$found" -m venv --clear .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: install
	@.venv/bin/labeling demo $(ARGS)

test: install
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types: install
	@.venv/bin/mypy

bench: install
	@.venv/bin/python -m benchmarks $(ARGS)

chaos: install
	@.venv/bin/python -m tests.chaos --kills $(KILLS) $(ARGS)

fuzz: install
	@.venv/bin/python -m tests.live_fuzz --records $(RECORDS) $(ARGS)

# Versions and hashes for every platform and both Pythons, and no host.
lock: install
	@.venv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --quiet $(ARGS) --output-file requirements.lock

clean:
	@rm -rf .venv build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

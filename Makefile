# Two commands do all: `make demo` and `make test`. Both create the virtual environment and install into it if need be.
#
#   VENV=DIR          where the virtual environment is or goes
#   PYTHON=COMMAND    Python 3.11 or 3.12 to create it with
#   PIP_ARGS=...      for pip install, such as --no-cache-dir or an index with smaller torch builds
#   PYTEST_ARGS=...   for pytest, such as "tests/test_compat -x"
#   DEMO_OUT=DIR      where the demo writes

VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_OUT ?= demo_out
# Tests run many small tensors, and loaders and gloo in processes of their own: more threads wait for each other.
TEST_THREADS ?= 1
# Processes that share the tests; 0 runs them in one.
TEST_PROCESSES ?= 2

VENV_PYTHON := $(VENV)/bin/python
# Written last, so that an interrupted installation is taken up again. Holds the project's folder, which an editable
# installation points to.
STAMP := $(VENV)/.installed
FITS := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

# No rule runs beside another, and no half-written target survives.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP) ## create the virtual environment and install ctc_mm into it, unless both are up to date

.PHONY: demo
demo: $(STAMP) ## run the whole chain on synthetic images: draw, convert, train, test, explain, count slides (within 15 minutes on 2 cores)
	$(VENV_PYTHON) tools/demo.py --out $(DEMO_OUT)

.PHONY: test
test: $(STAMP) ## run the tests
	OMP_NUM_THREADS=$(TEST_THREADS) $(VENV_PYTHON) -m pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

.PHONY: lint
lint: $(STAMP) ## check style and formatting
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

# A project that was moved installs anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): setup.py pyproject.toml
	@rm -f $@
	@if $(VENV_PYTHON) -m pip --version >/dev/null 2>&1; then \
	    $(VENV_PYTHON) -c '$(FITS)' || { \
	        echo "error: $(VENV) holds `$(VENV_PYTHON) --version`, ctc_mm needs Python 3.11 or 3.12." \
	             "Remove $(VENV), or choose another with VENV=DIR." >&2; exit 1; }; \
	else \
	    for python in $(or $(PYTHON),python3 python3.12 python3.11 python); do \
	        if $$python -c '$(FITS)' >/dev/null 2>&1; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "error: no Python 3.11 or 3.12 among: $(or $(PYTHON),python3 python3.12 python3.11 python)." \
	             "Install one, or name it with PYTHON=/path/to/python3.12." >&2; exit 1; \
	    fi; \
	    echo "creating $(VENV) with $$found"; \
	    $$found -m venv $(VENV); \
	fi
	$(VENV_PYTHON) -m pip install $(PIP_ARGS) -e '.[dev]'
	@printf '%s\n' '$(CURDIR)' > $@

# Commands for a fresh machine. Each sets up the virtual environment first where that has not been done.
#
#   make demo     phantoms, two trainings side by side, table and picture in demo_run/ (some minutes)
#   make test     checks and default tests, two at a time
#   make lint     checks alone
#   make venv     the environment alone
#   make clean    removes the environment and what was built
#
# Variables: PYTHON  the Python (3.10 to 3.13) to make the environment with
#            VENV    where the environment lies
#            PIP_ARGS, PYTEST_ARGS, DEMO_ARGS  passed on, for instance  make test PYTEST_ARGS="-m slow"
#
# In an environment of your own, do the same by hand:
#   pip install -c constraints.txt -e ".[test]"
#   ruff check . && mypy && pytest
#   python -m nnunetv2_pclmix.demo

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Two of torch's thread pools on the same cores slow each other down.
test lint: export OMP_NUM_THREADS = 1

.PHONY: test demo lint venv clean

test: lint
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

demo: $(INSTALLED)
	$(BIN)/python -m nnunetv2_pclmix.demo --output demo_run --overwrite $(DEMO_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

venv: $(INSTALLED)

# The environment, with the project installed in editable form and the test extra. Targets that run anything of the
# project depend on this file.
$(INSTALLED): pyproject.toml setup.py constraints.txt nnunetv2-pclmix.pth
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 10) <= sys.version_info[:2] <= (3, 13) else "Python 3.10 to 3.13 is needed, name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

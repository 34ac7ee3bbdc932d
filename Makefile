# PYTHON=/path/to/python3.11 and VENV=folder may be given to every target.
PYTHON ?=
VENV ?= .venv
PYTHON_IN_ENV = $(VENV)/bin/python
ENV_READY = $(VENV)/.complete
PYTEST = OMP_NUM_THREADS=1 $(PYTHON_IN_ENV) -m pytest -q -n 2 --dist loadfile
DEMO = $(VENV)/demo
DOCS = $(VENV)/docs
SPHINX = PYTHONPATH='$(DOCS)' $(PYTHON_IN_ENV) -m sphinx
BUILD_ENV = PYTHON='$(PYTHON)' VENV='$(VENV)' bash requirements/make_env.sh

.PHONY: help env test test-slow test-gpu lint format quickstart demo docs \
  docs-links clean clean-env
.DEFAULT_GOAL := help

help:  ## show this list
	@echo 'Commands build the environment first. Times are those of 2 cores.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' \
	  Makefile

env:  ## build .venv, pinned, and prove that it works: 11 minutes, once
	@$(BUILD_ENV)

$(ENV_READY): $(wildcard requirements/*.*)
	@$(BUILD_ENV)

quickstart: $(ENV_READY)  ## train, convert, fine-tune, test, draw: 10 minutes
	$(PYTHON_IN_ENV) tools/quickstart.py

$(DEMO)/.complete: demo/requirements.txt $(ENV_READY)
	rm -rf '$(DEMO)'
	$(PYTHON_IN_ENV) -m pip install --quiet --no-deps --target '$(DEMO)' \
	  -r demo/requirements.txt
	@touch '$@'

demo: $(DEMO)/.complete  ## see the heat in a browser; trains the quickstart first
	$(PYTHON_IN_ENV) demo/app.py

$(DOCS)/.complete: docs/requirements.txt $(ENV_READY)
	rm -rf '$(DOCS)'
	$(PYTHON_IN_ENV) -m pip install --quiet --no-deps --target '$(DOCS)' \
	  -r docs/requirements.txt
	@touch '$@'

docs: $(DOCS)/.complete  ## build the site, run its tutorials, check its blocks
	$(PYTHON_IN_ENV) docs/check_blocks.py
	$(SPHINX) -W --keep-going -q -b html docs docs/_build/html
	@echo 'The site is docs/_build/html/index.html'

docs-links: $(DOCS)/.complete  ## check the links to other sites; needs a network
	MMVHEAT_DOCS_NOTEBOOKS=off $(SPHINX) -q -b linkcheck docs docs/_build/links

test: $(ENV_READY)  ## run the fast tests: 8 minutes
	$(PYTEST) -m 'not slow and not gpu'

test-slow: $(ENV_READY)  ## run the slow tests: 11 minutes
	$(PYTEST) -m slow

test-gpu: $(ENV_READY)  ## run the acceptance suite of a GPU, 15 minutes
	@PYTHON='$(PYTHON_IN_ENV)' bash tests/test_gpu/run.sh

lint: $(ENV_READY)  ## check style and format
	$(PYTHON_IN_ENV) -m ruff check .
	$(PYTHON_IN_ENV) -m ruff format --check .

format: $(ENV_READY)  ## repair style and format where ruff can
	$(PYTHON_IN_ENV) -m ruff check --fix .
	$(PYTHON_IN_ENV) -m ruff format .

clean:  ## delete what builds and tools left behind
	rm -rf build dist *.egg-info docs/_build docs/generated .pytest_cache .ruff_cache
	find mmvheat configs tools tests requirements -name __pycache__ -prune \
	  -exec rm -rf {} +

clean-env:  ## delete the environment (the compiled mmcv stays cached)
	rm -rf '$(VENV)'

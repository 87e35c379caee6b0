# make setup | demo | test | coverage | lint | docs. The environment is made in .venv on first use: training, compression and the
# developer's tools, with PyTorch's CPU build where there is no NVIDIA GPU and the index has that build.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test coverage lint docs clean

setup: .venv/ready

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python tools/pytorch_index.py) \
	  --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python train.py -m experiment=demo model=vit,deit,effnetv2,convnext

test: setup
	$(BIN)/python -m pytest -n 2

coverage: setup # of both lanes: about an hour
	$(BIN)/python -m pytest -n 2 -m "not gpu" --cov --cov-report=term:skip-covered

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/docs # into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

# The first call makes a virtual environment; `make test` and `make check` add the developers' tools.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test test-slow check docs results reproduce bench clean

help:
	@echo "make demo   learn from scikit-learn's digits and show what it is worth (3 minutes)"
	@echo "make test   run the tests, on all cores"
	@echo "make test-slow   run the long trials"
	@echo "make check  lint, types, imports, documentation"
	@echo "make docs   execute the notebook and build the documentation site in build/docs"
	@echo "make reproduce   list the tables of docs/results.md; with TABLE=NAME make one again"
	@echo "make bench  time a step, the instance loss, colours and finding a million files (20 minutes)"

demo: $(VENV)/installed
	$(BIN)/quarterturn demo

# A worker for each core, and a thread for each worker.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/installed-dev
	$(BIN)/pytest -n auto --dist loadfile

# Trainings of minutes, whose figures the documents state.
test-slow: $(VENV)/installed-dev
	$(BIN)/pytest -m slow

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs NOTEBOOK=off

# Warnings are errors; nothing is fetched. The notebook is executed, which takes a minute, or not.
docs: NOTEBOOK ?= force
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env \
		-D nb_execution_mode=$(NOTEBOOK) docs build/docs
	@echo "The site is in build/docs/index.html"

# The tables of docs/results.md, from the records in docs/results/, and that of docs/scale.md.
results:
	$(PYTHON) docs/result_tables.py
	$(PYTHON) docs/scale_table.py

# A table of docs/results.md once more, beside the recorded one: make reproduce TABLE=NAME
# [OUT=FOLDER] [HOUSES=PATH ...]; without TABLE, the tables with their data and cost.
REPRODUCED_FROM = HOUSES TEXTURES CIFAR10 TINY_IMAGENET BCCD WEIGHTS
reproduce: $(VENV)/installed-dev
	$(BIN)/python docs/reproduction.py $(TABLE) $(if $(OUT),--out '$(OUT)') \
		$(foreach data,$(REPRODUCED_FROM),$(if $($(data)),--data $(data)='$($(data))'))

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/step.py --instances 10000 1000000 10000000
	$(BIN)/python benchmarks/step.py --backbone alexnet --image-size 224 --batch-size 48 \
		--instances 1281167 --rounds 5
	$(BIN)/python benchmarks/step.py --backbone resnet18 --image-size 32 --batch-size 128 \
		--instances 50000 --rounds 5
	$(BIN)/python benchmarks/step.py --method multiview --backbone resnet18 --image-size 32 \
		--batch-size 42 --instances 1000 --rounds 5
	$(BIN)/python benchmarks/instance_loss.py
	$(BIN)/python benchmarks/colour.py
	$(BIN)/python benchmarks/indexing.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

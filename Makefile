# make demo    the whole pipeline on a nano ladder, on any machine (QUICK=1: about half the time)
# make test    the tests
# make check   linter, formatter and type checker
# make ladder  plan and run the paper's ladder (LADDER=nano or any of configs/ladder/; CLUSTER=slurm where SLURM answers)
# make paper   the paper's tables and figures of results from AI2's published measurements (RUNS=their folder)

LADDER ?= olmo2
CLUSTER ?= $(shell sinfo >/dev/null 2>&1 && echo slurm || echo local)
RUNS ?= ../shared/olmo-ladder/runs
PY := .venv/bin/python
READY := .venv/.installed

.PHONY: demo test check ladder paper setup

setup: $(READY)

$(READY): pyproject.toml setup.py scripts/setup.sh
	@sh scripts/setup.sh

demo: $(READY)
	@$(PY) scripts/demo.py $(if $(QUICK),--quick)

test: $(READY)
	@$(PY) -m pytest $(ARGS)

check: $(READY)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

ladder: $(READY)
	@$(PY) -m ladder run ladder=$(LADDER) cluster=$(CLUSTER) $(ARGS)

paper: $(READY)
	@$(PY) -m predict paper --ladder $(RUNS) --output runs/paper

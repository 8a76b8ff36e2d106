# make demo    the whole pipeline on a nano ladder, on any machine (QUICK=1: about half the time)
# make mini    a ladder whose target costs ten times as much: hours at low priority; goes on where it was stopped
# make test    the tests
# make check   linter, formatter and type checker
# make ladder  plan and run the paper's ladder (LADDER=nano or any of configs/ladder/; CLUSTER=slurm where SLURM answers)
# make bench   how well every method predicts the larger runs of finished ladders (RUNS=a folder of tables)
# make paper   the paper's tables and figures of results from AI2's published measurements (RUNS=their folder)
#
# The first of them sets .venv up: TORCH=cpu or TORCH=cuda chooses the build of torch (default: cuda where a GPU or SLURM
# is), PYTHON=/path/to/python3.12 the interpreter.

LADDER ?= olmo2
CLUSTER ?= $(shell sinfo >/dev/null 2>&1 && echo slurm || echo local)
RUNS ?= ../shared/olmo-ladder/runs
PY := .venv/bin/python
READY := .venv/.installed

.PHONY: demo mini test check ladder bench paper setup FORCE

setup: $(READY)

$(READY): pyproject.toml setup.py scripts/setup.sh
	@sh scripts/setup.sh
ifneq ($(filter command,$(origin PYTHON) $(origin TORCH)),)  # asked for now: looked at, whatever is there already
$(READY): FORCE
endif

demo: $(READY)
	@$(PY) scripts/demo.py $(if $(QUICK),--quick)

mini: $(READY)
	@$(PY) scripts/mini.py $(ARGS)

test: $(READY)
	@$(PY) -m pytest $(ARGS)

check: $(READY)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

ladder: $(READY)
	@$(PY) -m ladder run ladder=$(LADDER) cluster=$(CLUSTER) $(ARGS)

bench: $(READY)
	@$(PY) -m predict bench $(RUNS) --output benchmarks/$(notdir $(RUNS:/=))

paper: $(READY)
	@$(PY) -m predict paper --ladder $(RUNS) --output runs/paper

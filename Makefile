# Every target works on a fresh machine that has Python 3.11 or newer and make.
# `make demo` and `make test` are the two to know; `make help` lists the others.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
WORKERS ?= auto
IMAGES ?= 15000
APFS_IMAGES ?= 4000
RUN_EXTRAS := cli,check,rig,train
ALL_EXTRAS := cli,check,rig,contracts,train,digests,lab

# The tests start hundreds of Pythons. Where bytecode may not be kept, each compiles all of it anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-pythons thorough lint format contracts soak images apfs-images experiments
.PHONY: bench wheel clean run-env all-env rig-env
.PHONY: verdicts structure test-torch bench-peers bench-curve chaos faults fuzz fuzz-env mutants

help:
	@echo "make demo       the worked example: the promise, its proof and a real crash"
	@echo "make test       every claim and every mutant, within small bounds: some minutes"
	@echo "make test-all   what make test leaves out: the same within larger bounds"
	@echo "make test-pythons  the model's and the library's tests on each other Python that is here"
	@echo "make thorough   what is too long for both: soak, fuzz, images, faults and chaos, for hours"
	@echo "make all-env    the environment with the tools for tests and lint; runs nothing"
	@echo "make lint       ruff, mypy --strict and the import contracts"
	@echo "make structure  circles, long modules, rooms at the top, class names used twice"
	@echo "make format     let ruff format and repair what it can"
	@echo "make contracts  CrossHair on pure arithmetic and on mutants of it: under a minute of processor time"
	@echo "make soak       the stateful suites with many more examples, others each time"
	@echo "make fuzz       all that reads a store, coverage-guided: FUZZ_TARGETS, FUZZ_SECONDS each"
	@echo "make mutants    MUTANTS changes of the library (ROOM=model: the model), drawn by SEED: does a test notice? (by hand: an hour)"
	@echo "make verdicts   the table of docs/properties.md: each subject under each profile (by hand: half an hour)"
	@echo "make images     crash images of ext4, xfs and btrfs, IMAGES of them, held against the model"
	@echo "make experiments  powercut experiment, crash and corruption, small counts: two minutes"
	@echo "make apfs-images  crash images of APFS (linux-apfs-rw) in a guest: no root, no KVM"
	@echo "make faults     flips, full disks, remounts, calls that fail: FLIPS, STEPS (a share), CALLS, SEED"
	@echo "make bench      the benchmarks (they print ratios; nothing is asserted)"
	@echo "make bench-peers  the library against moonclip, PyTorch, safetensors, DCP, Orbax, durablewrite"
	@echo "make bench-curve  what a save costs from 1 KiB to 4 GiB, in 1 to 256 parts (an hour, 5 GiB free)"
	@echo "make test-torch  what needs PyTorch, in an environment of its own"
	@echo "make chaos      training runs that ckpt-chaos kills in the middle of their saves"
	@echo "make wheel      build the wheel and the sdist, and check what is in them"
	@echo "make clean      remove what the tools left behind, .venv included"

run-env all-env: setup-python

.PHONY: setup-python
setup-python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "setup: '$(PYTHON)' was not found. Python 3.11 or newer is needed;" \
	       "name one: make PYTHON=/path/to/python3 ..." >&2; exit 3; }

run-env:
	@$(PYTHON) scripts/setup_venv.py --venv $(VENV) --extras $(RUN_EXTRAS)

all-env:
	@$(PYTHON) scripts/setup_venv.py --venv $(VENV) --extras $(ALL_EXTRAS) --groups test,lint

rig-env:
	@scripts/setup-rig

demo:
	@echo "demo: it trains a small network and kills it in a save, proves one way of saving and refutes"
	@echo "demo: another, and holds both against a real ext4. Some minutes; all it writes is in demo-output."
	@test -e $(BIN)/python || echo "demo: this first run also fetches Python packages into $(VENV)."
	@$(MAKE) --no-print-directory run-env rig-env
	@$(BIN)/python examples/main_job.py

PYTEST := -m pytest -n $(WORKERS)

test: all-env rig-env
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

test-all: all-env rig-env
	$(BIN)/python $(PYTEST) -m thorough $(PYTEST_ARGS)

# Each has an environment of its own, .venv-3.12 for one.
test-pythons: setup-python
	@$(PYTHON) scripts/other_pythons.py -n $(WORKERS) $(PYTEST_ARGS)

lint: all-env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

structure: all-env
	@$(BIN)/python scripts/structure.py

format: all-env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contracts: all-env
	$(BIN)/python -m tests.contracts

# Only the suites of tests/model and tests/stateful by default; SOAK=tests is all that knows a soak.
SOAK ?= tests/model tests/stateful

soak: all-env rig-env
	HYPOTHESIS_PROFILE=soak $(BIN)/python $(PYTEST) -m "thorough or not thorough" $(SOAK) $(PYTEST_ARGS)

# By hand. Each step runs, whatever became of the others; what ran and what failed comes last.
THOROUGH ?= soak fuzz images apfs-images faults chaos
LONG_FUZZ_SECONDS ?= 900
LONG_IMAGES ?= 200000
LONG_APFS_IMAGES ?= 40000

thorough:
	@echo "thorough: $(THOROUGH). Hours; Ctrl-C ends it."
	@ran= failed=; \
	for step in $(THOROUGH); do \
	  echo "== $$step"; \
	  if $(MAKE) --no-print-directory $$step SOAK=tests FUZZ_SECONDS=$(LONG_FUZZ_SECONDS) \
	    IMAGES=$(LONG_IMAGES) APFS_IMAGES=$(LONG_APFS_IMAGES); \
	  then ran="$$ran $$step"; else failed="$$failed $$step"; fi; \
	done; \
	echo "thorough: passed:$${ran:- none}; failed:$${failed:- none}"; \
	test -z "$$failed"

# Atheris has no wheel for every Python: it has an environment of its own, which nothing else needs.
FUZZ_TARGETS ?= manifest-bytes manifest-body manifest-values manifest-newer part-path metadata \
	names report store-reports store-tree store-writer store-mixed paper-tree
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?= -1

fuzz-env: setup-python
	@$(PYTHON) scripts/setup_venv.py --venv $(VENV)-fuzz --extras cli,digests --groups fuzz

fuzz: fuzz-env
	@for target in $(FUZZ_TARGETS); do \
	  echo "== $$target"; \
	  nice $(VENV)-fuzz/bin/python -m tests.fuzz $$target --seconds $(FUZZ_SECONDS) \
	    --runs $(FUZZ_RUNS) || exit $$?; \
	done

# By hand. What was found is in docs/mutants.md.
MUTANTS ?= 100
SEED ?= 1
ROOM ?= library
MUTANTS_ARGS ?=

mutants: all-env
	$(BIN)/python scripts/mutants.py --room $(ROOM) --count $(MUTANTS) --seed $(SEED) $(MUTANTS_ARGS)

# By hand. What it says goes into docs/properties.md.
verdicts: all-env
	$(BIN)/python scripts/verdict_table.py

images: all-env rig-env
	@mkdir -p build
	$(BIN)/powercut soak --images $(IMAGES) --traces build/powercut-traces --junit build/images.xml

# The page is build/experiment/index.html.
experiments: all-env rig-env
	rm -rf build/experiment
	$(BIN)/powercut experiment crash --quick --out build/experiment
	$(BIN)/powercut experiment corruption --quick --out build/experiment

apfs-images: all-env rig-env
	$(BIN)/python scripts/apfs_images.py --images $(APFS_IMAGES)

# A share of 1 is every step of every operation, and -1 calls are every one.
FLIPS ?= 1000
STEPS ?= 1
CALLS ?= 20000
SEED ?= 0

faults: all-env rig-env
	PYTHONPATH=model:impl $(BIN)/python -m tests.faults --flips $(FLIPS) --steps $(STEPS) --calls $(CALLS) --seed $(SEED)

bench: all-env rig-env
	@for bench in benchmarks/*.py; do \
	  case "$$bench" in */_*|*/cost_curve.py) continue ;; esac; \
	  echo "== $$bench"; $(BIN)/python "$$bench" || exit 1; \
	done

# What needs packages that nothing else needs has an environment of its own, made anew where its
# list has changed. PyTorch is large: its files are not compiled beforehand.
PEERS := $(VENV)-peers
TORCH := $(VENV)-torch
CHAOS := $(VENV)-chaos
$(PEERS)/stamp: benchmarks/peers.txt tests/torch/requirements.txt
$(TORCH)/stamp: tests/torch/requirements.txt
$(CHAOS)/stamp: tests/chaos/requirements.txt

$(PEERS)/stamp $(TORCH)/stamp $(CHAOS)/stamp: | setup-python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q --no-compile -r $<
	@touch $@

test-torch: $(TORCH)/stamp
	PYTHONPATH=impl $(TORCH)/bin/python -m pytest -p no:cacheprovider tests/torch/torch_lane.py tests/torch/guard_lane.py \
	  $(PYTEST_ARGS)

chaos: $(CHAOS)/stamp
	PYTHONPATH=impl $(CHAOS)/bin/python -m tests.chaos

bench-peers: $(PEERS)/stamp
	PYTHONPATH=impl $(PEERS)/bin/python benchmarks/store_speed.py

bench-curve: all-env
	$(BIN)/python benchmarks/cost_curve.py

wheel: all-env
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/check-wheel-contents dist/*.whl

clean:
	rm -rf $(VENV) $(VENV)-3.* $(PEERS) $(TORCH) $(CHAOS) $(VENV)-fuzz dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

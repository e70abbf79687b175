# Every target sets up what it needs: `make mnist-unsup` or `make test` can be the very
# first command after cloning. `make help` lists the targets.

VENV ?= .venv
BIN := $(VENV)/bin

# Settings of the training targets; ARGS takes any further option of aae_mx.train.
SEED ?= 0
ARGS ?=
TRAIN = $(BIN)/python -m aae_mx.train --seed $(SEED) $(if $(EPOCHS),--epochs $(EPOCHS)) \
	$(if $(OUT),--out $(OUT))

# Tests start hundreds of processes: without bytecode MXNet takes seconds more to be imported. It
# goes into the environment, also where the shell's PYTHONDONTWRITEBYTECODE keeps trees clean.
BYTECODE := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(abspath $(VENV))/pycache

# One process per core, each with one thread.
PYTEST = $(BYTECODE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider -n auto --dist worksteal

LINT_RULES := --line-length 100 --target-version py39 --select E,F,W,I,B --ignore B905

# MXNet and scikit-learn have no types. 3.10 is the oldest Python that mypy still knows.
MYPY_OPTIONS := --python-version 3.10 --ignore-missing-imports --cache-dir /dev/null

# What a target takes beside PYTHON and VENV. Anything else on the command line is a mistake, which
# make itself would not notice: `make mnist-semi LABELS=100` would train with 1,000 labels.
TRAINING := PRIOR EPOCHS SEED OUT ARGS
TAKES_mnist-unsup := $(TRAINING)
TAKES_mnist-sup := $(TRAINING)
TAKES_mnist-semi := LABELLED $(TRAINING)
TAKES_mnist-classify := LABELLED $(TRAINING)
TAKES_mnist-style := $(TRAINING)
TAKES_mnist-cluster := CLUSTERS $(TRAINING)
TAKES_mnist-reduce := LABELLED $(TRAINING)
TAKES_figures := ARGS
TAKES_paper := ARGS
TAKES_bench := ARGS
TAKES_test := ARGS
TAKES_test-all := ARGS
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
ifeq ($(MAKELEVEL),0)
$(foreach goal,$(or $(MAKECMDGOALS),help),$(foreach name,$(filter-out PYTHON VENV,$(GIVEN)),$(if \
	$(filter $(name),$(TAKES_$(goal))),,$(error make $(goal) takes no $(name), only $(or \
	$(TAKES_$(goal)),no variable) (and PYTHON, VENV)))))
endif

.DEFAULT_GOAL := help
.PHONY: help setup test test-all test-pythons lint mnist-unsup mnist-sup mnist-semi mnist-classify \
  mnist-style mnist-cluster mnist-reduce figures paper bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r name text; do printf '%-22s %s\n' "$$name" "$$text"; done

setup: $(VENV)/installed ## create .venv and install aae_mx in it

mnist-unsup: $(VENV)/installed ## train on MNIST without labels [PRIOR=gaussian EPOCHS= SEED= OUT= ARGS=]
	$(TRAIN) --prior $(or $(PRIOR),gaussian) $(ARGS)

mnist-sup: $(VENV)/installed ## the same with every label [PRIOR=gaussian_mixture]
	$(TRAIN) --prior $(or $(PRIOR),gaussian_mixture) --labels $(ARGS)

mnist-semi: $(VENV)/installed ## the same with LABELLED labels [PRIOR=gaussian_mixture LABELLED=1000]
	$(TRAIN) --prior $(or $(PRIOR),gaussian_mixture) --labels $(or $(LABELLED),1000) $(ARGS)

mnist-classify: $(VENV)/installed ## learn to classify from few labels [LABELLED=100 PRIOR=gaussian]
	$(TRAIN) --mode classification --labels $(or $(LABELLED),100) \
	  $(if $(PRIOR),--prior $(PRIOR)) $(ARGS)

mnist-style: $(VENV)/installed ## learn how digits are drawn, apart from which they are [PRIOR=gaussian]
	$(TRAIN) --mode style $(if $(PRIOR),--prior $(PRIOR)) $(ARGS)

mnist-cluster: $(VENV)/installed ## find clusters without labels [CLUSTERS=16 PRIOR=gaussian]
	$(TRAIN) --mode clustering --clusters $(or $(CLUSTERS),16) \
	  $(if $(PRIOR),--prior $(PRIOR)) $(ARGS)

mnist-reduce: $(VENV)/installed ## learn a plane with a place for every digit [LABELLED=100]
	$(TRAIN) --mode reduction --labels $(or $(LABELLED),100) \
	  $(if $(PRIOR),--prior $(PRIOR)) $(ARGS)

figures: $(VENV)/installed ## train what is missing and draw every figure of the post
	$(BIN)/python -m aae_mx.figures $(ARGS)

paper: $(VENV)/installed ## train what is missing of the paper's experiments and write the table
	$(BIN)/python -m aae_mx.paper $(ARGS)

bench: $(VENV)/installed ## measure the speed of training, without and with labels [ARGS=--peer]
	$(BIN)/python benchmarks/throughput.py $(ARGS)
	$(BIN)/python benchmarks/throughput.py --labels --only-step $(ARGS)

test: $(VENV)/installed-dev ## run the tests but the slow ones
	$(PYTEST) tests $(ARGS)

test-all: $(VENV)/installed-dev ## all tests, with 20 kills and 20,000 mutated files [ARGS=]
	AAE_MX_ALL=1 AAE_MX_KILLS=20 AAE_MX_FUZZ=4000 $(PYTEST) tests $(ARGS)

lint: $(VENV)/installed-dev ## check the style of the code, and its types
	$(BIN)/ruff check --no-cache $(LINT_RULES) .
	$(BIN)/ruff format --no-cache --check --line-length 100 --target-version py39 .
	$(BIN)/mypy $(MYPY_OPTIONS) aae_mx

clean: ## remove .venv and what Python left; runs and figures stay
	rm -rf $(VENV) $(VENV)-3.* build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# The files "installed" stand for a finished installation, so that a broken-off one is
# taken up again.
# Modules are compiled when they are imported, which most never are.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
$(VENV)/installed: setup.py
	@$(MAKE) --no-print-directory venv
	$(PIP) --use-pep517 --editable .
	@# See setup.py.
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
	  echo '$(PIP) --no-deps mxnet==1.9.1' && $(PIP) --no-deps mxnet==1.9.1; fi
	@touch $@

$(VENV)/installed-onnx: $(VENV)/installed
	$(PIP) --use-pep517 --editable '.[onnx]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --use-pep517 --editable '.[dev]'
	@touch $@

# Where a Python may be: yours (PYTHON=...), the one called python3, those with a version in
# their name, pyenv's. The first that USABLE takes makes the environment.
PYTHONS = $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.14 \
	python $$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.*/bin/python 2>/dev/null))
USABLE = import sys; v = sys.version_info[:2]; import ensurepip, venv; \
	print("%d.%d" % v); sys.exit(not (3, 9) <= v <= (3, 14))

# uname: MXNet's wheels are for these machines only.
.PHONY: venv
venv:
	@case "$$(uname -s) $$(uname -m)" in \
	  'Linux x86_64' | 'Linux aarch64' | 'Darwin x86_64') ;; \
	  *) echo "Error: MXNet 1.9.1 has no wheel for $$(uname -s) $$(uname -m), only for Linux" \
	       "(x86-64, aarch64) and macOS (x86-64); docs/Dockerfile makes a container." >&2; exit 1 ;; \
	esac; \
	for python in $(PYTHONS); do \
	  if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then \
	    echo "creating $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "Error: no usable Python was found$(if $(PYTHON), at PYTHON=$(PYTHON))." \
	  "aae_mx needs Python 3.9 to 3.14 with the modules venv and ensurepip" \
	  "(on Debian and Ubuntu: apt-get install python3-venv)." \
	  "Install one, or name one: make PYTHON=/path/to/python ..." >&2; \
	exit 1

# One environment for each version, .venv-3.9 and so on, but VENV itself for its own; they stay, for
# the next time. As many at once as there are cores, each with its output in one piece.
test-pythons: ## run a short test of everything on every supported Python that is found
	@found=; versions=; own=$$($(BIN)/python -c '$(USABLE)' 2>/dev/null); \
	for python in $(PYTHONS); do \
	  version=$$("$$python" -c '$(USABLE)' 2>/dev/null) || continue; \
	  case "$$versions " in *" $$version "*) continue ;; esac; \
	  venv=$(VENV)-$$version; test "$$version" != "$$own" || venv=$(VENV); \
	  versions="$$versions $$version"; found="$$found $$venv $$python"; \
	done; \
	test -n "$$found" || exec $(MAKE) --no-print-directory venv; \
	echo $$found | xargs -n 2 -P "$$(getconf _NPROCESSORS_ONLN)" sh -c \
	  'output=$$($(MAKE) --no-print-directory smoke PYTHON="$$1" VENV="$$0" 2>&1); \
	  status=$$?; echo "$$output"; exit $$status' && \
	echo "passed on Python$$versions"

.PHONY: smoke
smoke: $(VENV)/installed-onnx
	$(BYTECODE) OMP_NUM_THREADS=1 $(BIN)/python tests/smoke.py

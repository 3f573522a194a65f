# `make run` and `make test` set up what they need on a machine with Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
MINIATURE := build/miniature
FAMILY ?= all
STACK_FOLDER := build/stack

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types format stack stack-down bench bench-train bench-score miniature
.PHONY: study study-smoke golden base-image images try-images wheels clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

setup: $(READY)  ## create .venv and install

run: $(READY)  ## the main job: the quickstart on the shipped subject
	$(BIN)/aelif run quickstart

stack: $(READY)  ## MLflow on PostgreSQL and S3, here, and a run against it; STACK="--s3-endpoint …" for a store of yours
	$(BIN)/aelif stack up --folder $(STACK_FOLDER) $(STACK)
	. $(STACK_FOLDER)/stack.env && $(BIN)/aelif run smoke --tracking-uri "$$MLFLOW_TRACKING_URI" \
		--output $(STACK_FOLDER)/outputs/smoke

stack-down: $(READY)  ## end just the servers that `make stack` started; PostgreSQL's data stay
	$(BIN)/aelif stack down --folder $(STACK_FOLDER)

test: $(READY)  ## all tests: unit, component, pipeline, end to end
	@# in order of the folders: the long files come early, so that both processes end together
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

golden: $(READY)  ## write what the pipelines compile to into tests/pipelines/golden, to review the difference
	$(BIN)/python -m tests.pipelines.golden

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## time per step, import cost, orchestration share
	$(BIN)/python tests/benchmarks/steps.py

bench-train: $(READY)  ## our trainer against diffusers' DreamBooth scripts, which it says how to get (minutes)
	$(BIN)/python tests/benchmarks/train.py

bench-score: $(READY)  ## scoring against a POT call per resample, synthesis against a pipeline call per prompt; cost curves
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/scoring.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/synthesis.py

miniature: $(READY)  ## pretrain both miniatures, or FAMILY=sdxl or sd3 (hours; needs Debian's fonts-noto-color-emoji)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[pretraining]' -c constraints.txt
	$(BIN)/python -m aelif.models.miniature.pretrain $(FAMILY) --work $(MINIATURE)

study: $(READY)  ## the registered study on the miniatures: hours on two cores; stopped, it goes on where it was
	$(BIN)/aelif run study-tuning --output outputs/study-tuning $(STUDY)
	$(BIN)/aelif run study --output outputs/study $(STUDY)
	$(BIN)/python docs/study/collect.py outputs docs/study/results
	$(BIN)/python docs/study/analyse.py docs/study/results outputs

study-smoke: $(READY)  ## the same path shrunk to minutes, results into outputs/study-smoke
	$(BIN)/aelif run study-tuning --smoke --output outputs/study-smoke/study-tuning $(STUDY)
	$(BIN)/aelif run study --smoke --output outputs/study-smoke/study $(STUDY)
	$(BIN)/python docs/study/collect.py outputs/study-smoke outputs/study-smoke/results
	$(BIN)/python docs/study/analyse.py outputs/study-smoke/results outputs/study-smoke

base-image:  ## base image from Debian's packages, where no registry can be reached (root, debootstrap, buildah)
	images/base/build.sh

images:  ## both container images; BASE, REGISTRY, WHEELS, PUSH: see images/build.sh
	images/build.sh

try-images:  ## real steps in the images that were built, as pods run them: see images/try.sh
	images/try.sh

wheels:  ## every wheel of the images into build/wheels, for builds without a network
	images/wheels.sh

clean:  ## remove environment, caches and build products; results stay
	test ! -e $(STACK_FOLDER)/stack.json || $(BIN)/aelif stack down --folder $(STACK_FOLDER)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

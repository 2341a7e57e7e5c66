# Every target installs what it needs by itself: into .venv, and for test-core into .venv-core, where
# neither torch nor ROS is. Another Python: make test PYTHON=python3.12, in a clone without .venv; only
# test-core keeps an environment for each
PYTHON ?= python3
BIN := .venv/bin
# two tests of a run may fail once where time, signals and other processes have a say; both are told
TESTED := -r fER --reruns 1 --max-suite-reruns 2 --rerun-show-tracebacks
# a core each, a test file to one process
PARALLEL := -q $(TESTED) -n auto --maxprocesses 4 --dist loadfile
# each process has a ROS domain of its own, and mostly waits
ROS := -q $(TESTED) -n 3 --dist loadfile
CORE := .venv-core$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_RETRIES ?= 10

.PHONY: help demo test test-core test-kilted check format bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/runtime  ## play the small bag to the real node: scores, an alert, an overview picture
	$(BIN)/ood_monitor demo

test: test-core .venv/dev  ## every test
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/ros --ignore tests/launch; \
	  failed=$$?; $(BIN)/python -m pytest $(ROS) tests/ros tests/launch && exit $$failed

test-core: $(CORE)/runtime  ## unit tests where neither torch nor ROS is installed
	$(CORE)/bin/python -m pytest $(PARALLEL) tests/unit

test-kilted: .venv-kilted/runtime  ## tests of the node on ROS 2 Kilted
	.venv-kilted/bin/python -m pytest $(ROS) tests/ros --ignore tests/ros/test_soak.py

check: .venv/dev  ## style, types, import contracts, ament's linters
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo
	$(call quietly,$(BIN)/ament_flake8 --config tests/flake8.ini setup.py ros_ood_monitor launch tests docs)
	$(call quietly,$(BIN)/ament_pep257 setup.py ros_ood_monitor launch docs)
	$(call where_installed,xmllint,--noout package.xml $(wildcard docs/examples/*/*.xml docs/examples/*/launch/*.xml),libxml2-utils)

format: .venv/dev  ## rewrite the code in the one style
	$(BIN)/ruff check --fix-only . && $(BIN)/ruff format .

bench: .venv/runtime  ## measure speed and memory with the shipped bundle
	$(BIN)/ood_monitor bench models/lunar_orbit

clean:  ## delete what builds, tests and the demo left; .venv and .venv-core stay
	rm -rf build install log dist demo_out *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# --- what the targets stand on -------------------------------------------------------------------
# A stamp is the name of an installed set; it is installed again when setup.py is newer.
.venv/runtime: setup.py | .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[ros,bags]'
	$(call loads_opencv,$(BIN)/python)
	@touch $@

.venv/dev: setup.py | .venv/runtime
	$(BIN)/python -m pip install -q -e '.[bags,dev,lunar,ros,train]'
	@touch $@

$(CORE)/runtime: setup.py | $(CORE)/bin/python
	$(CORE)/bin/python -m pip install -q -e '.[bags,test]'
	$(call loads_opencv,$(CORE)/bin/python)
	@touch $@

.venv-kilted/runtime: setup.py | .venv-kilted/bin/python
	.venv-kilted/bin/python -m pip install -q -e '.[bags,ros-kilted,test]'
	$(call loads_opencv,.venv-kilted/bin/python)
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2> /dev/null || { \
	  echo "Python 3.10 to 3.13 wanted, '$(PYTHON)' is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $* || { rm -rf $*; \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

define loads_opencv
@$(1) -c 'import cv2' || { \
  echo 'OpenCV is installed but does not load; on Debian and Ubuntu: apt install libgl1 libglib2.0-0'; exit 1; }
endef

# what a tool says is shown only where it fails
define quietly
@echo '$(1)'; $(1) > .venv/output.txt 2>&1 || { cat .venv/output.txt; exit 1; }
endef

define where_installed
@if command -v $(1) > /dev/null; then echo '$(1) $(2)'; $(1) $(2); \
  else echo 'not checked: $(1) $(2) (on Debian and Ubuntu: apt install $(3))'; fi
endef

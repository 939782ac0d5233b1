# SPDX-License-Identifier: Apache-2.0
# make run [CONFIG=...] [ARGS=...]   the proxy in the foreground       make test [TESTS=...]   every test
# make lint                          ruff, mypy, the floors            make docs               the documentation as HTML

VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= examples/quickstart.yaml
ARGS ?=
TESTS ?=
METADATA := setup.cfg pyproject.toml g3/__init__.py

YARDSTICK ?= ../shared/yardstick/yardstick.py
BENCH ?=

.PHONY: run test lint docs bench clean

run: $(VENV)/.installed
	@if [ "$(CONFIG)" = examples/quickstart.yaml ]; then \
	    echo "g3proxy on 127.0.0.1:3128 (Ctrl-C ends it). From another shell:"; \
	    echo "    curl -x http://127.0.0.1:3128 http://example.com/"; \
	    echo "    curl -x http://127.0.0.1:3128 https://example.com/"; fi
	@exec $(BIN)/twistd -n --pidfile= g3proxy --config "$(CONFIG)" $(ARGS)

test: $(VENV)/.installed-test
	@tools/install-peers.sh
	@$(BIN)/python tools/run_tests.py $(TESTS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m twisted.trial --temp-directory=_trial_temp_lint --reporter=summary tests.unit.test_floors

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Tests build packages and the docs too, so that what users are told is tested.
$(VENV)/.installed: $(METADATA) tools/make-venv.sh
	@tools/make-venv.sh $(VENV)
	@touch $@
$(VENV)/.installed-test: $(METADATA) tools/make-venv.sh
	@tools/make-venv.sh $(VENV) test,docs
	@touch $@ $(VENV)/.installed $(VENV)/.installed-docs
$(VENV)/.installed-lint: $(METADATA) tools/make-venv.sh
	@tools/make-venv.sh $(VENV) test,docs,dev
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-docs
$(VENV)/.installed-docs: $(METADATA) tools/make-venv.sh
	@tools/make-venv.sh $(VENV) docs
	@touch $@ $(VENV)/.installed

# No check of speed is part of the tests: figures depend on the machine, and are compared by people.
bench: $(VENV)/.installed-test
	@if [ -f "$(YARDSTICK)" ]; then \
	    PYTHONPATH= python3 "$(YARDSTICK)" --g3 '$(CURDIR)/$(BIN)/twistd -n --pidfile= g3proxy --config {config}' \
	        --subjects g3,squid,haproxy,dante --repeat 3; \
	else echo "no comparison with other proxies: $(YARDSTICK) is not there (YARDSTICK=...)"; fi
	@$(BIN)/python -m tests.bench.hot_path $(BENCH)

clean:
	rm -rf build dist docs/_build _trial_temp* .mypy_cache .ruff_cache .hypothesis g3.egg-info

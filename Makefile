# make run: the whole lab on this machine.  make test: everything that CI checks.  make bench: measure.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8774
STATE ?= .lab
MINUTES ?= 2

BIN = $(VENV)/bin
# pip compares versions, not files: it runs again only when the packaging has changed.
PACKAGING = setup.py middleware/setup.py client/setup.py

BENCHES = request-path list dispatch agents scheduler idle growth start plan

.PHONY: run test chaos test-swift test-keystone test-middleware test-client lint unit functional integration \
	samples clean help bench $(BENCHES:%=bench-%)

help:
	@sed -n 's/^# //p' Makefile | head -1

run: $(VENV)/.installed
	@exec $(BIN)/labapi-all --state-path $(STATE) --api-port $(PORT)

test: $(VENV)/.installed-test
	@VENV=$(VENV) tests/run.sh

test-swift: $(VENV)/.installed-test
	@VENV=$(VENV) tests/run.sh services swift

test-keystone: $(VENV)/.installed-test
	@VENV=$(VENV) tests/run.sh services keystone

chaos: $(VENV)/.installed-test
	@MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/chaos

test-middleware:
	@tests/middleware/run-isolated.sh

test-client:
	@tests/client/run-isolated.sh

lint: $(VENV)/.installed-test
	@VENV=$(VENV) tests/run.sh lint

unit functional integration: $(VENV)/.installed-test
	@VENV=$(VENV) tests/run.sh services $@

# ONLY="dispatch idle" for these alone, QUICK=1 for a first impression.
bench: $(VENV)/.installed-test
	@tests/services.sh
	@$(BIN)/python -m bench.run $(if $(QUICK),--quick) $(ONLY)

$(BENCHES:%=bench-%): bench-%: $(VENV)/.installed-test
	@tests/services.sh
	@$(BIN)/python -m bench.run $(if $(QUICK),--quick) $*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(PACKAGING)
	@echo "installing labapi into $(VENV) (about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ./middleware -e ./client -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python $(PACKAGING)
	@echo "installing labapi and what its tests need into $(VENV) (about two minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ./middleware -e ./client -e '.[test]'
	@touch $(VENV)/.installed $@

# etc/labapi.conf.sample, etc/policy.yaml.sample, the commands in docs/cli.md and client/lab.1, from the code
samples: $(VENV)/.installed-test
	@$(BIN)/oslo-config-generator --config-file etc/config-generator.conf
	@$(BIN)/oslopolicy-sample-generator --namespace labapi --output-file etc/policy.yaml.sample
	@$(BIN)/python etc/grafana/dashboard.py >etc/grafana/labapi.json
	@$(BIN)/python -m labapi_client.cli.reference docs/cli.md client/lab.1

clean:
	rm -rf $(VENV) $(STATE) build middleware/build client/build *.egg-info middleware/*.egg-info client/*.egg-info

# On a fresh machine with Python 3.11 or newer, pip and make: `make search`, `make test`, `make bench`.
# All install into .venv first; a second call installs nothing.

PYTHON = python3
ARGS = --experiment sample --training.epochs 10

# Touched when an installation is complete; UNFINISHED lies there while one runs.
INSTALLED = .venv/installed
UNFINISHED = .venv/unfinished

.PHONY: search test test-fast faults fuzz lint bench install

search: $(INSTALLED) ## make search ARGS="--data-dir DIR" searches with other arguments
	.venv/bin/python -m ser_tune.search $(ARGS)

test: $(INSTALLED) ## names at its end what it left out
	.venv/bin/pytest -n 2 --dist loadfile

test-fast: $(INSTALLED) ## all but the tests that start Ray
	.venv/bin/pytest -n 2 --dist loadfile -m "not ray"

faults: $(INSTALLED) ## kills, full disks, damage and more, for real; tests/faults/README.md
	.venv/bin/python tests/faults/inject.py --write

fuzz: $(INSTALLED) ## thousands of broken recordings through every command; takes minutes
	.venv/bin/python tests/fuzz/broken_recordings.py --write tests/fuzz/README.md

lint: $(INSTALLED)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

bench: $(INSTALLED) .venv/bench ## two hours; the tables go into benchmarks/README.md; make bench DATA=DIR: on recordings of yours
	.venv/bin/python benchmarks/all.py --work .bench $(if $(DATA),--data-dir $(DATA))

.venv/bench: $(INSTALLED)
	.venv/bin/pip install --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'error: $(PYTHON) is absent or older than 3.11; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'error: $(PYTHON) cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv)' >&2; exit 2; }
	@# What an interrupted installation left cannot be trusted.
	@if [ -e $(UNFINISHED) ]; then rm -rf .venv; fi
	@mkdir -p .venv && touch $(UNFINISHED)
	@echo 'Installing into .venv; this takes some minutes, once.'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ && rm $(UNFINISHED)

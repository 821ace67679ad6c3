# `make` lists the targets. Needs python3 with venv; the rest comes from requirements/lock.txt.
PYTHON ?= python3
ENGINES ?= sim
PYTEST_ARGS ?=
ARGS ?=
BIN := .venv/bin
PLAYS := ansible roles inventories molecule .config

# LiteLLM reads its price list from its own package, not from the network.
export LITELLM_LOCAL_MODEL_COST_MAP := True

ifeq ($(filter sim vllm,$(ENGINES)),)
$(error ENGINES is sim or vllm, not '$(ENGINES)')
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint lint-code lint-plays bench lab lock docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

demo: .venv/.ready ## a rollout and its rollback on this machine (ENGINES=sim or vllm)
	@test "$(ENGINES)" != vllm || $(BIN)/python -m coalmine.sim.vllm_install
	@$(BIN)/coalmine demo --engines $(ENGINES) $(ARGS)

test: lint ## lint, then all tests (PYTEST_ARGS="-k rollback" narrows them)
	@without=$$(bash scripts/system-packages) && \
	  COALMINE_WITHOUT="$$without" $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/.ready ## ruff, the rooms (import-linter), types (mypy), roles and playbooks
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint-code lint-plays

lint-code: .venv/.ready
	@$(BIN)/ruff check --output-format=concise
	@$(BIN)/lint-imports
	@$(BIN)/mypy

lint-plays: .venv/.ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --strict -q $(PLAYS)
	@$(BIN)/yamllint --strict $(PLAYS)

bench: .venv/.ready ## the benchmarks (ARGS names some; verdicts, hours, and hosts and scenarios, root, only so)
	@$(BIN)/python -m benchmarks $(ARGS)

lab: .venv/.ready ## hosts with a real systemd in a private network, to look around in (root)
	@bash scripts/system-packages >/dev/null
	@bash scripts/lab run bash scripts/lab-shell $(ARGS)

lock: ## resolve requirements/lock.txt again (ARGS=--upgrade takes newer versions)
	@PYTHON="$(PYTHON)" bash scripts/lock $(ARGS)

docs: .venv/.ready ## write the generated reference pages again
	@$(BIN)/python -m coalmine.docs

clean: ## remove .venv, build outputs and caches (.venv-vllm stays: it is 3 GB)
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./.venv-vllm -prune -o -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: requirements/lock.txt pyproject.toml
	@$(PYTHON) scripts/environment

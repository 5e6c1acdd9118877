# The only front door. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-lane-1 test-lane-2 lint generate bench parts soak vault engines prerequisites

# One profile for everything but benchmarks, so that nothing is compiled twice (docs/adr/0009-dev-profile-for-tests.md).
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
# Tests and demo use the programs that are built here, and do not build others.
export STRIMZI_BACKUP_BIN ?= $(TARGET)/debug/strimzi-backup
export STRIMZI_BACKUP_OPERATOR_BIN ?= $(TARGET)/debug/strimzi-backup-operator
# `make test TESTS=a06` runs the tests whose name holds a06.
TESTS ?=
# Brokers, stores and streamers of so many tests run at once.
TEST_THREADS ?= 2

help: ## This list.
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do \
	  printf 'make %-14s %s\n' "$$target" "$$text"; done

demo: ## Orders in Kafka, a streamer that is killed three times, a restore that is killed once, and the proof that nothing is missing. KAFKA=host:port uses that broker.
	@tests/parts/prerequisites.sh build $(if $(KAFKA),,kafka)
	@$(if $(KAFKA),:,tests/parts/install.sh demo)
	@echo "build: streamer and demo (minutes once, then seconds)"
	@cargo build --quiet --locked --workspace --bin strimzi-backup --bin demo
	@"$(TARGET)/debug/demo"

test: ## All tests, on real servers; those that run pods take root. TESTS=name runs some.
	@tests/parts/prerequisites.sh
	@tests/parts/install.sh
	cargo build --locked --workspace --bin strimzi-backup --bin strimzi-backup-operator
	cargo test --locked --workspace --lib --bins --no-fail-fast $(TESTS)
	cargo test --locked --workspace --test '*' --no-run
	@$(MAKE) --no-print-directory --keep-going --jobs=2 test-lane-1 test-lane-2

# Two lanes side by side, about as long as each other: tests of servers wait more than they work. Each line says which
# lane it is of.
SECOND := cluster damage delivery kills operator readers restore_model sim sim_cases tidy
FIRST := $(filter-out $(SECOND),$(sort $(basename $(notdir $(wildcard tests/tests/*.rs))) \
  $(notdir $(patsubst %/main.rs,%,$(wildcard tests/tests/*/main.rs)))))
test-lane-1: LANE := $(FIRST)
test-lane-2: LANE := $(SECOND)
test-lane-1 test-lane-2:
	@MAKEFLAGS= cargo test --locked --workspace $(LANE:%=--test %) --no-fail-fast $(TESTS) -- --test-threads=$(TEST_THREADS) 2>&1 \
	  | sed --unbuffered 's/^/$(@:test-lane-%=%) | /'

lint: ## Format, clippy, rustdoc, shell syntax, and that the documents say what the code does.
	@tests/parts/prerequisites.sh build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --quiet --locked --workspace --no-deps --document-private-items
	cargo test --quiet --locked --workspace --test tidy
	for script in .ci/run tests/parts/*.sh tests/src/kubernetes/*.sh; do bash -n "$$script"; done
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; \
	  else echo "lint: cargo-deny is not installed; deny.toml is not checked"; fi

generate: ## Writes anew what is made of code and chart: definitions, install.yaml, alerts, the bundle, names in documents.
	@tests/parts/prerequisites.sh build helm
	@tests/parts/install.sh helm
	UPDATE_DOCS=1 cargo test --quiet --locked --workspace --test tidy definitions
	UPDATE_DOCS=1 cargo test --quiet --locked --workspace --test delivery made_of_the_chart
	UPDATE_DOCS=1 cargo test --quiet --locked --workspace --test tidy

bench: ## Ratios in one run on one machine, as a table; takes many minutes.
	@tests/parts/prerequisites.sh build kafka versitygw python kubernetes
	@tests/parts/install.sh kafka versitygw python kubernetes
	cargo build --quiet --locked --release --workspace --bins
	@STRIMZI_BACKUP_BIN="$(TARGET)/release/strimzi-backup" \
	  STRIMZI_BACKUP_OPERATOR_BIN="$(TARGET)/release/strimzi-backup-operator" benchmarks/run

soak: ## What takes hours: every single-byte mutation, SEEDS histories (200000), kills of streamers ROUNDS times (20), 1000 of restores in the clear and 1000 of encrypted ones.
	@tests/parts/prerequisites.sh
	@tests/parts/install.sh
	cargo build --locked --workspace --bin strimzi-backup
	STRIMZI_BACKUP_SOAK=1 cargo test --locked --workspace --lib every_single_byte_mutation
	STRIMZI_BACKUP_SEEDS=$(or $(SEEDS),200000) cargo test --locked --workspace --test sim simulation_of
	for round in $$(seq $(or $(ROUNDS),20)); do cargo test --locked --workspace --test kills a01_ -- --nocapture; done
	STRIMZI_BACKUP_KILLS=1000 cargo test --locked --workspace --test restore kills_at_random_moments -- --nocapture

vault: ## Tests on a real Vault, which is built first: minutes. Without it Vault's answers are those of a stand-in.
	@tests/parts/prerequisites.sh build kafka kubernetes vault
	@tests/parts/install.sh kafka kubernetes vault
	cargo build --locked --workspace --bin strimzi-backup
	cargo test --locked --workspace --test encryption --test harness vault -- --ignored --test-threads=$(TEST_THREADS)

engines: ## The examples for Trino, Athena and Spark on these engines, which are fetched first: minutes, and 1 GB.
	@tests/parts/prerequisites.sh build kafka versitygw trino spark
	@tests/parts/install.sh kafka versitygw trino spark
	cargo build --locked --workspace --bin strimzi-backup
	cargo test --locked --workspace --test query --test harness -- --ignored --test-threads=$(TEST_THREADS) trino spark

parts: ## Installs the servers and readers that tests and demo use; instant once they are there.
	@tests/parts/install.sh

prerequisites: ## Installs missing Debian packages by apt-get, as root, and says what else is missing.
	@tests/parts/prerequisites.sh --install

# Run `make` to see what there is to run.

GO      ?= go
LINTER  := bin/golangci-lint
# How long each fuzz target runs in `make soak` and `make fuzz`.
FUZZTIME ?= 60s
export FUZZTIME

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: dev
dev: ## Start a throw-away network with a few agents (ARGS=--story for more) and print its URL
	$(GO) run ./cmd/reef dev $(ARGS)

.PHONY: build
build: ## Build the one binary, bin/reef
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/reef ./cmd/reef

.PHONY: setup
setup: ## Install what the tests need (make test does it too)
	tools/setup.sh

.PHONY: test
test: ## Vet, staticcheck and every test on both databases; fails if any was skipped
	tools/test.sh

.PHONY: soak
soak: ## The same tests at full counts and against the real Vault, then every fuzz target for FUZZTIME
	tools/peer.sh vault
	REEF_VAULT_PEER=$(CURDIR)/bin/vaultpeer REEF_SOAK=1 TEST_TIMEOUT=3h tools/test.sh
	tools/fuzz.sh

.PHONY: fuzz
fuzz: ## Only the fuzz targets, FUZZTIME (60s) each
	tools/fuzz.sh

.PHONY: bench
bench: build ## Measure every scenario against its baselines, as JSON lines
	@tools/peer.sh opa >/dev/null || true # without it the bench has one peer less, and says so
	@for name in post feed votes home search messages token revoke kill gate spawn plan audit start; do bin/reef bench $$name -o json || exit 1; done

.PHONY: lint
lint: $(LINTER) ## golangci-lint with .golangci.yml (builds the linter once, minutes)
	$(LINTER) run ./...

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the binary links (needs the Internet)
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

.PHONY: shape
shape: ## Lines and exported names of each package against its budget
	@$(GO) test -count=1 -run '^TestBudgets$$' -v ./internal/arch | grep -v '^\(=== \|--- \|PASS\|ok\)'

.PHONY: fmt
fmt: $(LINTER) ## Format the Go sources
	$(LINTER) fmt ./...

.PHONY: clean
clean: ## Remove what was built and installed inside the tree
	rm -rf bin dist test/thirdparty/node_modules test/browser/node_modules

# The linter has 400 modules of its own and so a module file of its own.
$(LINTER): tools/lint/go.sum
	cd tools/lint && $(GO) build -o ../../$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $(LINTER)

# What one does with this repository. `make help` lists it.

BINARY  := bin/wisepops-connect
VERSION ?= $(shell git describe --tags --always 2>/dev/null)
TOOL    := go tool -modfile=tools/go.mod

.PHONY: help build demo test config-test lint format integration bench ci clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build the binary into bin/
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BINARY) .

demo: ## See it work, without a key and without a network
	go run . demo

test: ## Run every test that needs no server
	go test ./...

config-test: build ## Lint the pipelines and run their Benthos tests
	.ci/configs $(BINARY)

lint: ## Check format and lint
	test -z "$$($(TOOL) gofumpt -l .)"
	$(TOOL) golangci-lint run ./...

format: ## Format the code
	$(TOOL) gofumpt -w .
	$(TOOL) goimports -local github.com/wisepops-connect/wisepops-connect -w $$(git ls-files '*.go')

integration: ## Run the tests against real PostgreSQL and Redis servers
	WISEPOPS_TEST_SERVICES=1 go test -count=1 ./tests/integration/...

bench: build ## Measure polling and webhooks beside their rivals
	go run ./tests/bench -binary $(BINARY)

ci: ## Run what CI runs
	CI=true bash .ci/run

clean: ## Remove what was built
	rm -rf bin

# What one does with this repository. `make help` lists it.

BINARY  := bin/wisepops-connect
VERSION ?= $(shell git describe --tags --always 2>/dev/null)
FUZZTIME ?= 3m
DURATION ?= 2m
TOOL    := go tool -modfile=tools/go.mod

.PHONY: help build full docs deploy demo test config-test lint format integration fuzz torture soak bench ci clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build the binary into bin/
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BINARY) .

full: ## Build distribution/full, with all of Redpanda Connect's components; some 10 minutes
	cd distribution/full && go build -trimpath -ldflags '-s -w' -o ../../bin/wisepops-connect-full .
	bin/wisepops-connect-full list | grep wisepops_

docs: ## Generate docs/reference from the components' specs
	go generate ./docs/generate

deploy: build ## Check what is in deploy/
	bash deploy/check $(BINARY)

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

integration: ## Run the tests against real servers (.ci/services installs and starts them)
	WISEPOPS_TEST_SERVICES=1 go test -count=1 ./tests/integration/...

fuzz: ## Fuzz each parser for FUZZTIME
	bash tests/fuzz.sh $(FUZZTIME)

torture: build ## Count what is lost through crashes, and faults of everything, for DURATION
	go run ./tests/torture -binary $(BINARY) -duration $(DURATION)

soak: build ## Watch memory and goroutines under load with faults, for DURATION
	go run ./tests/torture -binary $(BINARY) -soak -duration $(DURATION)

bench: build ## Measure everything in docs/performance.md, beside its rivals
	go run ./tests/bench -binary $(BINARY)

ci: ## Run what CI runs
	CI=true bash .ci/run

clean: ## Remove what was built
	rm -rf bin

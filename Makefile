# Everything here needs Go alone, unless it says otherwise.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GORELEASER = github.com/goreleaser/goreleaser/v2@v2.15.4

.PHONY: build test race lint fuzz faults vault postgres fleet bench-postgres bench-fleet bench-scale conformance openapi monitoring clients matrix browser report bench bench-audit soak

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/keeper ./cmd/keeper

test:
	go test ./...

race:
	go test -race ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

# Each fuzz target for so many inputs, or for so long: FUZZTIME=10m is a real run.
# What goes through a whole keeper, in internal/server, takes a hundred times as long.
FUZZTIME ?= 5000x
FUZZTIME_SERVER ?= $(if $(filter 5000x,$(FUZZTIME)),300x,$(FUZZTIME))
fuzz:
	@set -e; for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    time=$(FUZZTIME); case $$pkg in */internal/server) time=$(FUZZTIME_SERVER);; esac; \
	    echo "fuzzing $$pkg $$target for $$time"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $$time $$pkg; \
	  done; done

# A keeper whose disk is full, takes no writes, or hangs. Needs Linux, root and strace.
faults:
	go vet -tags faults ./cmd/keeper
	go test -tags faults -count 1 -run 'Disk|Sync' ./cmd/keeper

# Secrets from a real server of HashiCorp Vault, which takes some minutes to build.
vault:
	cd internal/source/sourcetest/vaulttest && go test -mod=mod -vet=off -count 1 ./...

# The store on a real PostgreSQL, also behind PgBouncer, which must be installed.
# KEEPER_TEST_POSTGRES names the server, as postgres://user@host:port of a role that may
# make databases: each test makes its own, and drops it. Elsewhere these tests are none.
# Those of several keepers start servers of their own, too, which they stop and kill; what
# takes long of them is in make fleet.
postgres:
	@test -n "$$KEEPER_TEST_POSTGRES" || { echo "make postgres: KEEPER_TEST_POSTGRES names no server, such as postgres://postgres@127.0.0.1:5432" >&2; exit 1; }
	@command -v pgbouncer >/dev/null && command -v pg_dump >/dev/null || { echo "make postgres: pgbouncer or pg_dump is missing" >&2; exit 1; }
	go test -count 1 -timeout 15m -skip 'AClockThatJumps|OfTwoVersions|OneKeeperLoses' ./internal/server/onpostgres ./internal/server/fleet ./internal/store/postgres

# All that is shown of several keepers, as processes: 1,000 revocations under load, a clock
# that jumps, two versions side by side. It prints how long revocations took.
fleet:
	@test -n "$$KEEPER_TEST_POSTGRES" || { echo "make fleet: KEEPER_TEST_POSTGRES names no server" >&2; exit 1; }
	go test -count 1 -timeout 1h -v ./internal/server/fleet -revocations 1000 | grep -v '^=== '

# Keepers on SQLite, on PostgreSQL, and two on one database, side by side.
bench-fleet:
	bench/fleet

# How many audit entries a second go in, beside plain COPY of the same rows.
bench-postgres:
	@test -n "$$KEEPER_TEST_POSTGRES" || { echo "make bench-postgres: KEEPER_TEST_POSTGRES names no server" >&2; exit 1; }
	go test -run '^$$' -bench AppendAudit -benchtime 200x ./internal/store/postgres
	go test -run '^$$' -bench Ingest -benchtime 5x ./internal/server/onpostgres

# What agents, tokens, polls, draws and changes cost one database: docs/scale.md. Minutes.
bench-scale:
	@test -n "$$KEEPER_TEST_POSTGRES" || { echo "make bench-scale: KEEPER_TEST_POSTGRES names no server" >&2; exit 1; }
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./bench/scale/measure
	go test -run '^$$' -bench Verify -benchtime 3x ./internal/anchor
	go test -run '^$$' -bench MemoryOf -benchtime 2x ./internal/vault

# A public suite for HTTP/2 against each listener, beside a bare server.
conformance:
	cd conformance && go vet ./... && go test -count 1 -v ./...

# The alerts by Prometheus's own tool (promtool, in Debian's package prometheus), the
# dashboard by Grafana's own schema, and its queries by promtool again.
monitoring:
	promtool check rules contrib/monitoring/alerts.yaml
	promtool test rules contrib/monitoring/alerts_test.yaml
	cd contrib/monitoring/check && go vet ./...
	@set -e; queries=$$(mktemp); trap 'rm -f $$queries' EXIT; \
	  (cd contrib/monitoring/check && go run . ../dashboard.json) >$$queries; promtool check rules $$queries
# The description of the routes by a linter, and a keeper's traffic against it by a
# validator, both of others' making. Needs Node 20 with npm.
openapi:
	conformance/openapi/run

# The vendors' own SDKs, the agents themselves, curl, git, gh and Python's clients
# against a keeper. Needs Node 20 with npm, and as root installs what Debian has.
clients:
	clients/run

# Those of docs/clients.md alone.
matrix:
	clients/run matrix

# The dashboard in Chromium, against a keeper with real traffic. Needs Node 20 with npm,
# and as root installs Chromium. clients/dashboard/run --write makes the documents' pictures.
browser:
	clients/dashboard/run

# What the scanner finds, rule by rule and form by form; what it leaves alone; and its
# rates beside SHA-256 and beside gitleaks.
report:
	go test ./internal/scanner -run TestEveryRuleInEveryForm -v -report -samples 20
	go test ./internal/scanner -run 'TestCleanTexts|TestSourcesPass|TestCleanTraffic' -v
	go test ./internal/scanner ./internal/vault -run '^$$' -bench 'CleanTraffic|ShortText|Disguised|Named|EverythingOn' -benchtime 20x
	cd bench/gitleaks && go test -run '^$$' -bench . -benchtime 20x .

bench:
	bench/run

# The audit log: a million entries beside a plain table, and what its syncs cost 16
# callers of a keeper. AUDIT_ENTRIES=100000 is a short run.
AUDIT_ENTRIES ?= 1000000
bench-audit:
	go test -run '^$$' -bench '^BenchmarkMillion$$' -benchtime 1x ./bench/audit -args -entries $(AUDIT_ENTRIES)
	go test -run '^$$' -bench DurableAudit -benchtime 41x ./internal/server
	go test -run '^$$' -bench AppendAudit ./internal/store/sqlite

# Needs about an hour; its last figures are in bench/RESULTS.md.
soak:
	bench/soak

.PHONY: packages image chart reproducible release release-files release-check newcomer

# deb, rpm and the OCI image, into dist, and each run: the packages by systemd on a
# copy of this machine, the image as a container. Needs Debian and root.
packages:
	cd packaging/release && go run . packages -arch amd64,arm64
	packaging/test/run

image:
	cd packaging/release && go run . image && go vet . && go test -count 1 .

# The Helm chart, the compose file and the Dockerfile, by Helm, Kubernetes' types,
# Compose's loader and BuildKit's parser; what the Dockerfile runs is run here.
chart:
	cd packaging/check && go vet ./... && go test -count 1 ./...

# Two builds of the last commit, in folders and with caches of their own, are one.
reproducible:
	packaging/test/reproducible

# All files of a release, into dist. Needs a tag on the commit; publishes nothing.
release: reproducible release-files

release-files:
	go run $(GORELEASER) release --clean --skip=publish
	cd packaging/release && go run . image && go run . provenance

# The same in a clone, under a tag that is nobody's, and what came of it looked at: what
# archives and packages hold, versions, hashes, bills of materials, provenance. Debian.
release-check:
	packaging/test/release

# From a clone to a protected call and a blocked leak, by the README's own commands.
newcomer:
	packaging/test/newcomer

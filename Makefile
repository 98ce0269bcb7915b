# make demo   the main job, end to end: build, pack, check, image, boot, list
# make test   all tests, the boot included
# Both install what they need, by name, with apt (as root, or through sudo).

export CGO_ENABLED ?= 0
GO      ?= go
LDFLAGS ?= -s -w
# gRPC's tracing pages take 3 MB that nobody looks at.
BUILD    = $(GO) build -trimpath -buildvcs=false -tags grpcnotrace -ldflags '$(LDFLAGS)'

# What the demo needs beside Go, and what the tests need beside that: the
# programs that judge what graft writes.
DEMO_PACKAGES = qemu-system-x86
TEST_PACKAGES = $(DEMO_PACKAGES) squashfs-tools cpio kmod zstd xz-utils skopeo gcc libc6-dev git
BENCH_PACKAGES = squashfs-tools cpio kmod zstd time

.PHONY: build base demo test race fuzz bench lint clean deps-demo deps-test deps-bench

build:
	$(BUILD) -o bin/ ./cmd/graft
	GOOS=linux GOARCH=amd64 $(BUILD) -o bin/ ./cmd/graft-init ./cmd/graftd

base: build
	$(GO) run ./base -deb "$$(base/fetch.sh out/kernel)" -init bin/graft-init -daemon bin/graftd -o out/base

demo: deps-demo base
	demo/run.sh

test: deps-test base
	$(GO) test ./...

# The race detector needs cgo. The machine in test/vm is no code of this process;
# -short leaves out long comparisons with judges, which make test has done.
race: deps-test base
	CGO_ENABLED=1 $(GO) test -race -short $$($(GO) list ./... | grep -v /test/vm)

FUZZTIME ?= 20s
fuzz:
	hack/fuzz.sh $(FUZZTIME)

bench: deps-bench base
	bench/run.sh

lint:
	hack/lint.sh

deps-demo:
	@hack/install.sh $(DEMO_PACKAGES)
deps-test:
	@hack/install.sh $(TEST_PACKAGES)
deps-bench:
	@hack/install.sh $(BENCH_PACKAGES)

clean:
	rm -rf bin out

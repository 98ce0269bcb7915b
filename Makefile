# make demo   the main job, end to end: build, check, image, boot, list
# make test   all tests, the boot included
# Both install what they need, by name, with apt (as root, or through sudo).

export CGO_ENABLED ?= 0
GO      ?= go
LDFLAGS ?= -s -w
# Programs and tests are compiled with the same flags, so that all they have in
# common is compiled once. gRPC's tracing pages take 3 MB that nobody looks at.
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false -tags=grpcnotrace
BUILD    = $(GO) build -ldflags '$(LDFLAGS)'

# What the demo needs beside Go, and what the tests need beside that: the
# programs that judge what graft writes.
DEMO_PACKAGES = qemu-system-x86
TEST_PACKAGES = $(DEMO_PACKAGES) squashfs-tools cpio kmod zstd xz-utils skopeo podman gcc libc6-dev git runc busybox-static graphviz \
	systemd llvm gdisk fdisk dosfstools mtools xfsprogs e2fsprogs xorriso genisoimage libarchive-tools qemu-utils libxml2-utils pigz \
	distro-info-data grub-common grub-pc-bin grub-efi-amd64-bin ovmf systemd-boot-efi binutils sbsigntool efitools osslsigncode swtpm libtss2-tcti-swtpm0
BENCH_PACKAGES = squashfs-tools cpio kmod zstd time runc systemd-boot-efi binutils dosfstools mtools gdisk xfsprogs \
	grub-common grub-pc-bin xorriso qemu-utils xz-utils pigz

.PHONY: build base demo release recipes recipes-all nightly test race fuzz bench lint clean deps-demo deps-test deps-bench

build:
	$(BUILD) -o bin/ ./cmd/graft
	GOOS=linux GOARCH=amd64 $(BUILD) -o bin/ ./cmd/graft-init ./cmd/graftd

base: build
	$(GO) run ./base -deb "$$(base/fetch.sh out/kernel)" \
		-loader "$$(base/fetch.sh out/kernel systemd-boot-efi)" -loader "$$(base/fetch.sh out/kernel grub-pc-bin)" \
		-init bin/graft-init -daemon bin/graftd -o out/base

demo: deps-demo base
	demo/run.sh

# A release of the recipes, from publishing to booting: all, or NAMES.
release: deps-demo base
	demo/release.sh $(NAMES)

# Compiling these takes minutes each.
SLOW_RECIPES = gvisor tailscale ctr ecr-credential-provider newt nebula
recipes: deps-demo base
	demo/release.sh $(filter-out $(SLOW_RECIPES),$(shell bin/graft dump --root recipes --template recipes/names.template))

# Every night: all recipes for both platforms, twice from nothing, and the same
# from BuildKit; both versions of cosign; fuzzing that sees what it reaches.
nightly: recipes-all fuzz
	GRAFT_TEST_NIGHTLY=1 $(GO) test -timeout 1h -count 1 ./test/strangers
recipes-all: deps-test build
	bin/graft build --root recipes --all --platform linux/amd64,linux/arm64 --check-reproducible
	GRAFT_TEST_RECIPES=all $(GO) test -timeout 3h -count 1 -v ./test/engines

# Booting a dozen machines takes minutes, and longer where they share a CPU.
test: deps-test base
	$(GO) test -timeout 40m ./...

# The race detector needs cgo, and something to find: packages that start or
# guard against goroutines. What runs in other processes is not seen, so test/,
# judges and scripts are left out; make test has done them. -short leaves out what
# runs in one goroutine for long.
race: deps-test base
	CGO_ENABLED=1 $(GO) test -race -short -skip 'Judges|QEMU|Killed|Interrupted|Section7' -timeout 40m \
		$$(grep -rlE --include='*.go' --exclude='*_test.go' 'errgroup|"sync|go func' internal | xargs -n 1 dirname | sort -u | sed 's,^,./,')

FUZZTIME ?= 20s
fuzz:
	hack/fuzz.sh $(FUZZTIME)

bench: deps-bench base
	bench/run.sh
	bench/assets.sh
	bench/build.sh
	bench/catalog.sh

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

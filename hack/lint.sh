#!/bin/bash
# lint.sh: what every commit must pass. The linter's version is written here only.
set -euo pipefail
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "gofmt -w these: $unformatted" >&2; exit 1; }
go vet ./...
go run ./hack/typecheck darwin/arm64 linux/arm64
go run $staticcheck ./...

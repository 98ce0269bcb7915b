#!/bin/bash
# fuzz.sh DURATION [PATTERN]: runs every fuzz target for so long, one after the other.
set -euo pipefail
duration=${1:?usage: fuzz.sh DURATION [PATTERN]} pattern=${2:-.}
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# When the time is up just as a worker starts an input, go test calls its own
# deadline a failure (golang/go issue 48591). A finding always says more: the
# input that failed and where it was written.
only_deadline() {
	grep -q '^    context deadline exceeded$' "$log" && ! grep -Eq 'Failing input|panic|fuzzing process|_test\.go:' "$log"
}

grep -rn --include='*_test.go' -o 'func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file _ func; do
	name=${func#func }
	echo "$(dirname "$file") $name" | grep -Eq "$pattern" || continue
	echo "fuzzing $(dirname "$file") $name for $duration" >&2
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$duration" -fuzzminimizetime 10x "$(dirname "$file")" 2>&1 | tee "$log" || only_deadline
done

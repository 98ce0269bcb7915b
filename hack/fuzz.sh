#!/bin/bash
# fuzz.sh DURATION [PATTERN]: runs every fuzz target for so long, as many at a
# time as there are CPUs. Each package is built once for all of its targets, so
# that the fuzzer sees what an input reaches. With FUZZ_BLIND=1 it does not:
# compiling everything another time takes minutes, which pays off for longer runs.
set -euo pipefail
duration=${1:?usage: fuzz.sh DURATION [PATTERN]} pattern=${2:-.}
cd "$(dirname "$0")/.."
top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
corpus=$(go env GOCACHE)/fuzz

# When the time is up just as a worker starts an input, the testing package
# calls its own deadline a failure (golang/go issue 48591). A finding always says
# more: the input that failed and where it was written.
only_deadline() { # LOG
	grep -q '^    context deadline exceeded$' "$1" && ! grep -Eq 'Failing input|panic|fuzzing process|_test\.go:' "$1"
}

# one PACKAGE TARGET: fuzzes it from its directory, where its testdata is.
one() {
	local program=$work/${1##*/}.test log=$work/${1//\//_}.$2.log
	echo "fuzzing $1 $2 for $duration" >&2
	cd "$top/$1"
	if "$program" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$duration" -test.fuzzminimizetime 10x \
		-test.parallel 1 -test.fuzzcachedir "$corpus/$1" >"$log" 2>&1 || only_deadline "$log"; then
		return
	fi
	cat "$log" >&2
	return 1
}
export -f one only_deadline
export work top duration corpus

grep -rn --include='*_test.go' -o 'func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file _ func; do
	echo "$(dirname "$file") ${func#func }"
done | grep -E "$pattern" >"$work/targets"
mapfile -t packages < <(cut -d ' ' -f 1 "$work/targets" | sort -u)
[ -z "$(printf '%s\n' "${packages[@]##*/}" | sort | uniq -d)" ] # each has a name of its own
if [ -n "${FUZZ_BLIND:-}" ]; then
	go test -c -o "$work/" "${packages[@]}"
else
	for package in "${packages[@]}"; do
		go test -c -fuzz . -o "$work/${package##*/}.test" "$package"
	done
fi
xargs -P "$(nproc)" -L 1 bash -c 'set -euo pipefail; one "$@"' fuzz.sh <"$work/targets"

#!/usr/bin/env bash
# Fuzzes each parser in turn for as long as is given: bash tests/fuzz.sh 3m
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
	go test -list '^Fuzz' "$package" | grep '^Fuzz' | while read -r target; do
		printf '\n== %s %s\n' "$package" "$target"
		# Minimising what is merely new would take a minute each time.
		go test "$package" -fuzzminimizetime 1s -run '^$' -fuzz "^$target\$" -fuzztime "${1:-3m}"
	done
done

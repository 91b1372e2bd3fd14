#!/usr/bin/env bash
# Plants each bug of this folder in a scratch copy of the tree and runs the seeded simulation over 20 seeds: a bug that no
# seed catches fails, and so does a patch that no longer applies. First the copy runs without a bug, and must pass.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
# The copy stands beside the target folder and shares it, so that no dependency is built again.
: "${CARGO_TARGET_DIR:?run tests/run.sh --mutants, or set the target folder}"
scratch=$(dirname "$CARGO_TARGET_DIR")/mutants
mkdir -p "$scratch"
export DOUANE_SIM_SEEDS=20
test=simulation::what_is_acked_is_kept_and_worked_once
failed=0

fail() {
  echo "FAIL  $1"
  failed=1
}

# Copies the tree as it is (it may lie inside another checkout: git is not to look above it), plants the patch if one is given, builds, and leaves the test's exit code and output.
try() {
  rm -rf "$scratch/tree"
  mkdir "$scratch/tree"
  (cd "$root" && git ls-files -z | tar --null -T - -cf -) | tar -xmf - -C "$scratch/tree"
  cd "$scratch/tree"
  # Under another version its artifacts are other files: the checkout's own tests must never link what has a bug planted.
  sed -i '0,/^version = .*/s//version = "0.0.0-mutant"/' Cargo.toml
  if [ -n "${1:-}" ] && ! GIT_CEILING_DIRECTORIES=$scratch git apply "$1"; then
    outcome="the patch no longer applies"
  elif ! cargo test --quiet --test it --no-run >"$scratch/out" 2>&1; then
    outcome="it does not compile: $(grep -m 1 '^error' "$scratch/out")"
  elif cargo test --quiet --test it -- --exact "$test" >"$scratch/out" 2>&1; then
    outcome=passed
  else
    seed=$(sed -n 's/.*DOUANE_SIM_FIRST=\([0-9]*\).*/\1/p' "$scratch/out" | head -n 1)
    outcome=${seed:+caught by seed $seed}
  fi
}

try
[ "$outcome" = passed ] || fail "without a planted bug: ${outcome:-the test cannot run}"
for patch in "$root"/tests/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  try "$patch"
  case "$outcome" in
    caught*) echo "ok    $name: $outcome" ;;
    passed) fail "$name: not caught within 20 seeds" ;;
    *) fail "$name: ${outcome:-the test cannot run}" ;;
  esac
done
exit "$failed"

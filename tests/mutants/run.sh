#!/usr/bin/env bash
# Plants each bug of this folder in a scratch copy of the tree and runs the simulation over 20 seeds: a bug that is
# not caught fails, and so does a patch that no longer applies.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
scratch=$(dirname "$CARGO_TARGET_DIR")/mutants
mkdir -p "$scratch"
export DOUANE_SIM_SEEDS=20
failed=0
for patch in "$root"/tests/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  rm -rf "$scratch/tree"
  mkdir "$scratch/tree"
  git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$scratch/tree"
  if ! (cd "$scratch/tree" && git apply "$patch"); then
    echo "FAIL  $name: the patch no longer applies"
    failed=1
    continue
  fi
  if ! (cd "$scratch/tree" && cargo test --quiet --test it --no-run) >"$scratch/build" 2>&1; then
    echo "FAIL  $name: the planted bug does not compile"
    tail -n 20 "$scratch/build"
    failed=1
  elif (cd "$scratch/tree" && cargo test --quiet --test it simulation) >"$scratch/out" 2>&1; then
    echo "FAIL  $name: not caught within 20 seeds"
    failed=1
  else
    echo "ok    $name: caught"
  fi
done
exit "$failed"

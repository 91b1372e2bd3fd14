#!/usr/bin/env bash
# Deliveries signed by the vendors' own SDKs, posted to a running gateway: each is accepted, and with one byte flipped refused.
# Called by tests/run.sh --sdk; needs Node (npm) and Python, and installs the SDKs outside the checkout.
set -euo pipefail
cd "$(dirname "$0")"

# The signers stand beside the packages, where Node looks for them.
sdks="${XDG_CACHE_HOME:-$HOME/.cache}/douane/sdks"
mkdir -p "$sdks"
cp package.json requirements.txt sign.mjs sign.py "$sdks/"
(cd "$sdks" && npm install --silent --no-audit --no-fund --ignore-scripts)
[ -x "$sdks/python/bin/pip" ] || python3 -m venv "$sdks/python"
"$sdks/python/bin/pip" install --quiet -r "$sdks/requirements.txt"

cargo build --quiet
douane="${CARGO_TARGET_DIR:-../../target}/debug/douane"

work="$(mktemp -d)"
gateway=
stop() {
  if [ -n "$gateway" ]; then kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
public_url=https://hooks.example.com
public="127.0.0.1:$(free_port)"
private="127.0.0.1:$(free_port)"
(cd "$sdks" && node sign.mjs "$public_url") >"$work/node.jsonl"
(cd "$sdks" && python/bin/python sign.py "$public_url") >"$work/python.jsonl"
python3 post.py prepare "$work/mappings" "$work/node.jsonl" "$work/python.jsonl"

cat >"$work/douane.toml" <<TOML
[listen]
public = "$public"
private = "$private"

[mappings]
path = "$work/mappings"

[ledger]
data_dir = "$work/data"

[intake]
public_url = "$public_url"
TOML
mkdir -p "$work/mappings/contracts"
"$douane" --config "$work/douane.toml" serve --strict >"$work/log" 2>&1 &
gateway=$!
for _ in $(seq 200); do
  if python3 -c "import urllib.request; urllib.request.urlopen('http://$private/readyz', timeout=1)" 2>/dev/null; then break; fi
  kill -0 "$gateway" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
python3 post.py post "http://$public" "$work/node.jsonl" "$work/python.jsonl"

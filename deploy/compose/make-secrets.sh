#!/usr/bin/env bash
# Makes random secrets for deploy/compose.yaml, in a folder that only you may enter; keeps those that are there.
#
# The files themselves may be read by all: a container sees the file and not the folder, as a user who is not you.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p -m 0700 secrets
cd secrets

secret() { # secret NAME BYTES: so many random bytes, in hex
  [ -e "$1" ] && return
  openssl rand -hex "$2" >"$1.new"
  chmod 0444 "$1.new"
  mv "$1.new" "$1"
}

secret postgres_password 24
secret nats_password 24
# Back it up: without it, sealed headers stay sealed for good.
secret sealing_key 32
if [ ! -e partners.env ]; then
  printf '%s\n' '# NAME=value, a line for each secret that a partner.toml takes from env:NAME' >partners.env
  chmod 0600 partners.env
fi

#!/bin/bash
# Prints the directory that install.sh installs into. Its name carries the pins, so that two checkouts with
# different pins never share parts and a changed pin can never meet an old installation.
set -euo pipefail
if [[ -n ${PARTS_DIR:-} ]]; then
  printf '%s\n' "$PARTS_DIR"
  exit 0
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pins=$(cd "$here" && cat kafka/* versitygw/* toxiproxy/* azurite/package.json azurite/package-lock.json \
  python/requirements.txt | sha256sum)
printf '%s/strimzi-backup/parts-%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}" "${pins:0:12}"

#!/bin/bash
# Prints the directory that install.sh installs into. Its name carries the pins, so that two checkouts with
# different pins never share parts and a changed pin can never meet an old installation.
#
#   dir.sh [part]    with a part: the directory that this part's own directory lies in
#
# What takes minutes to build or to fetch and whose pins change for reasons of their own lies beside the others, so that neither is
# installed anew when the other changes.
set -euo pipefail
if [[ -n ${PARTS_DIR:-} ]]; then
  printf '%s\n' "$PARTS_DIR"
  exit 0
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
case ${1:-} in
  # Of one module.
  kubernetes | helm) name=$1 pins=$(cat kubernetes/* | sha256sum) ;;
  node | promtool | vault | trino | spark) name=$1 pins=$(cat "$1"/* | sha256sum) ;;
  *)
    name=parts
    pins=$(cat kafka/* versitygw/* toxiproxy/* azurite/package.json azurite/package-lock.json \
      python/requirements.txt | sha256sum)
    ;;
esac
printf '%s/strimzi-backup/%s-%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}" "$name" "${pins:0:12}"

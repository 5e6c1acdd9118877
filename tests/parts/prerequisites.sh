#!/bin/bash
# Says which programs of this machine are missing, all at once, with the Debian package of each.
#
#   prerequisites.sh [--install] [group...]
#
# Groups: build (the Rust workspace); a part's name: what it needs to run, and to be installed where it is not yet;
# <part>:install: both in any case. None = build and all parts. --install asks apt-get for what is missing (root only).
# Exit code 0: nothing is missing; 2: something is.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

missing=() # what to say
packages=() # what to install

lacks() { # what, package or where it comes from
  missing+=("$1 (${2/#apt:/Debian package: })")
  [[ $2 != apt:* ]] || packages+=("${2#apt:}")
}

need() { # program, package
  command -v "$1" >/dev/null || lacks "$1" "apt:$2"
}

need_venv() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || lacks "python3 with venv" apt:python3-venv
}

need_version() { # name, found, wanted, package or where it comes from
  [[ ${2:-0} =~ ^[0-9.]+$ && $(printf '%s\n%s\n' "$3" "${2:-0}" | sort -V | head -n 1) == "$3" ]] ||
    lacks "$1 >= $3, found ${2:-none}" "$4"
}

version_of() { # program, argument: the first number of what it prints
  command -v "$1" >/dev/null || return 0
  # The program runs to its end before the first line is looked at: a closed pipe would be an error.
  local text
  text=$("$1" "$2" 2>&1) || return 0
  sed -nE 's/^[^0-9]*([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$text" | head -n 1
}

check_build() {
  need_version rustc "$(version_of rustc --version)" 1.95 "not in Debian 12: rustup"
  need_version cargo "$(version_of cargo --version)" 1.95 "not in Debian 12: rustup"
  need gcc gcc
  need g++ g++
  need make make # librdkafka is built by its own configure and make
  need pkg-config pkg-config
  ! command -v pkg-config >/dev/null || pkg-config --exists openssl || lacks "the headers of OpenSSL" apt:libssl-dev
}

check_part() { # part, whether it has to be installed
  local part=$1 installing=$2
  ! "$installing" || need flock util-linux
  case $part in
    kafka)
      need_version java "$(version_of java -version)" 17 apt:openjdk-17-jre-headless
      need openssl openssl
      need setpriv util-linux
      need hostname hostname
      ! "$installing" || need mvn maven
      ;;
    kubernetes)
      need openssl openssl
      need setpriv util-linux
      ! "$installing" || need_version go "$(version_of go version)" 1.24 "not in Debian 12: the Go project's own release"
      ;;
    helm)
      ! "$installing" || need_version go "$(version_of go version)" 1.24 "not in Debian 12: the Go project's own release"
      ;;
    promtool)
      ! "$installing" || need_version go "$(version_of go version)" 1.26.7 "not in Debian 12: the Go project's own release"
      ;;
    node) # these must run as root, so they are looked for where root's programs are
      local PATH=$PATH:/usr/sbin:/sbin
      need containerd containerd
      need runc runc
      need iptables iptables
      need ip iproute2
      need unshare util-linux
      need buildah buildah
      need strip binutils
      # Networks of the tests' own load it where the kernel has not.
      [[ -e /proc/sys/net/bridge ]] || need modprobe kmod
      [[ -x /usr/lib/cni/bridge ]] || lacks "the plugins of the container network" apt:containernetworking-plugins
      if "$installing"; then
        need apt-get apt
        need_version go "$(version_of go version)" 1.24 "not in Debian 12: the Go project's own release"
      fi
      ;;
    versitygw | toxiproxy | vault)
      ! "$installing" || need_version go "$(version_of go version)" 1.26 "not in Debian 12: the Go project's own release"
      ;;
    python)
      need python3 python3
      ! "$installing" || need_venv
      ;;
    trino)
      need setpriv util-linux
      if "$installing"; then
        need mvn maven
        need python3 python3
        need_venv
      fi
      ;;
    spark)
      need_version java "$(version_of java -version)" 17 apt:openjdk-17-jre-headless
      need_version python3 "$(version_of python3 --version)" 3.10 apt:python3
      ! "$installing" || need_venv
      ;;
    azurite)
      need_version node "$(version_of node --version)" 20 "in Debian 12 it is older: Node's own release, with npm"
      ! "$installing" || need npm npm
      ;;
    *) echo "prerequisites: no group is named $part" >&2; exit 2 ;;
  esac
}

check() { # group...
  local group
  missing=() packages=()
  for group in "$@"; do
    case $group in
      build) check_build ;;
      *:install) check_part "${group%:install}" true ;;
      *) if [[ -f $("$here/dir.sh" "$group")/$group.stamp ]]; then check_part "$group" false; else check_part "$group" true; fi ;;
    esac
  done
}

report() {
  echo "prerequisites: these programs are needed and missing:"
  printf '%s\n' "${missing[@]}" | sort -u | sed 's/^/  /'
  ((${#packages[@]})) || return 0
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    echo "\`make prerequisites\` installs the Debian packages among them."
  else
    echo "As root: apt-get install $(printf '%s\n' "${packages[@]}" | sort -u | paste -sd' ')"
  fi
}

install=false
[[ ${1:-} != --install ]] || { install=true; shift; }
groups=("$@")
((${#groups[@]})) || groups=(build kafka versitygw python azurite toxiproxy kubernetes node helm promtool)

check "${groups[@]}"
if "$install" && ((${#packages[@]})); then
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    report >&2
    exit 2
  fi
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  echo "prerequisites: apt-get install ${packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  check "${groups[@]}"
fi
if ((${#missing[@]})); then
  report >&2
  exit 2
fi
! "$install" || echo "prerequisites: nothing is missing"

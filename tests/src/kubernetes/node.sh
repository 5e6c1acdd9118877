# The first process of a node: it has a mount and a process namespace of its own, in which everything ends with it.
#
# Variables: DIR, BIN (the commands of Kubernetes), KUBECONFIG.
set -eu
mount --make-rprivate /
# The kubelet sets three values of the whole machine. It is shown files that hold them already, and writes nothing.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=$DIR/sysctl-${setting%%=*}
  mkdir -p "${file%/*}"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%%=*}"
done
# Whatever is written to places that cannot be chosen goes to memory, and away.
for place in /run /var/lib /var/log; do mount -t tmpfs node "$place"; done
mkdir -p /run/netns /run/containerd /var/lib/kubelet /var/lib/cni /var/log/containers /var/log/pods
mount --make-rshared /

log() { exec "$@" >>"$DIR/$name.log" 2>&1; }
name=containerd; log containerd --config "$DIR/containerd.toml" &
until [ -S "$DIR/containerd.sock" ]; do kill -0 $!; sleep 0.05; done
name=kube-proxy; log "$BIN/kube-proxy" --config "$DIR/kube-proxy.json" &
name=coredns; log "$BIN/coredns" -conf "$DIR/Corefile" &
name=kubelet; log "$BIN/kubelet" --config "$DIR/kubelet.json" --kubeconfig "$KUBECONFIG" --hostname-override node \
  --node-ip 10.88.0.1 --root-dir "$DIR/kubelet" --cert-dir "$DIR/kubelet/pki" &
# None of them may end.
wait -n || true
tail -n 10 "$DIR"/*.log >&2
exit 1

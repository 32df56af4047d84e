#!/bin/sh
# podman with CNI networks on the plugins of a directory: containers that ping each other, a published port, a static
# address, connect and disconnect, five at once, and nothing left. As root, in namespaces of its own:
#
#   unshare -n -m --propagation private test/runtimes/podman.sh DIR-OF-PLUGINS
#
# Prints TAP. Needs podman 4, crun, busybox (static), iptables, iproute2. The image is made here, offline.
set -u
plugins=$1
work=$(mktemp -d)

. "$(dirname "$0")/tap.sh"
cleanup() {
  podman rm -af -t 0 >/dev/null 2>&1
  umount "$work/root" 2>/dev/null
  cd /; rm -rf "$work" 2>/dev/null
}
trap cleanup EXIT

# nothing of the machine's own state is seen or touched
for dir in /run /var/lib/cni /var/lib/containers /etc/cni; do mkdir -p $dir; mount -t tmpfs tmpfs $dir || exit 2; done
# crun refuses a machine with both versions of cgroups; containers here use none
umount /sys/fs/cgroup/unified 2>/dev/null
mkdir -p /run/lock /run/netns "$work/tmp"
mkdir -p /etc/containers
mount -t tmpfs tmpfs /etc/containers
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
cat >"$work/containers.conf" <<END
[network]
network_backend = "cni"
cni_plugin_dirs = ["$plugins"]
network_config_dir = "$work/net.d"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
END
cat >"$work/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$work/storage"
runroot = "$work/run"
END
export CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf" TMPDIR="$work/tmp"
mkdir -p "$work/net.d"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward

mkdir -p "$work/image/bin" "$work/image/tmp"
cp "$(command -v busybox)" "$work/image/bin/busybox"
for tool in sh sleep ping ip nc httpd wget cat echo; do ln -s busybox "$work/image/bin/$tool"; done
tar -C "$work/image" -c . | podman import - localhost/box >"$work/log" 2>&1 || { cat "$work/log"; exit 2; }

run() { name=$1; shift; podman run -d --cgroups=disabled --name "$name" "$@"; }
fetch() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && grep hello <&3' "$1" "$2"; }
address() { podman inspect -f "{{(index .NetworkSettings.Networks \"$2\").IPAddress}}" "$1"; }
web="echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"

try "make a network with podman's own configuration" podman network create --subnet 10.87.7.0/24 one
sed -n 's/.*"type": "\([a-z-]*\)".*/\1/p' "$work"/net.d/*one* | tr '\n' ' ' | sed 's/^/# plugins of it: /'; echo
try "start a container" run a --network one localhost/box sh -c "$web"
try "start another with a static address" run b --network one --ip 10.87.7.77 localhost/box sh -c "$web"
a=$(address a one)
try "the address asked for is there" test "$(address b one)" = 10.87.7.77
try "they ping each other" podman exec a ping -c 1 -W 2 10.87.7.77
try "and back" podman exec b ping -c 1 -W 2 "$a"
try "the host reaches a server in a container" fetch 10.87.7.77 80
refuse "an address that is taken is refused" run c --network one --ip 10.87.7.77 localhost/box sleep 60
podman rm -f -t 0 c >/dev/null 2>&1

try "publish a port" run d --network one -p 18080:80 localhost/box sh -c "$web"
sleep 1
try "the published port answers at the host's loopback" fetch 127.0.0.1 18080
host=$(ip -4 -o addr show | awk '$2 != "lo" {sub("/.*", "", $4); print $4; exit}')
try "the published port answers a container at the host's address" podman exec a sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 $host 18080 | grep hello"

mkdir -p "$work/net.d"
cat >"$work/net.d/two.conflist" <<END
{ "cniVersion": "1.0.0", "name": "two", "plugins": [
  { "type": "bridge", "bridge": "two0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.87.8.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true } },
  { "type": "firewall", "backend": "" },
  { "type": "tuning", "sysctl": { "net.ipv4.conf.IFNAME.arp_ignore": "1" } } ] }
END
try "a network written by hand" podman network inspect two
try "start a container on it" run e --network two localhost/box sh -c "$web"
try "connect it to the first network" podman network connect one e
try "it reaches the first network" podman exec e ping -c 1 -W 2 "$a"
try "disconnect it" podman network disconnect one e
refuse "its interface is gone" podman exec e ip addr show dev eth1

for i in 1 2 3 4 5; do run "many$i" --network one localhost/box sleep 60 >"$work/many$i" 2>&1 & done
wait
try "five started at once have five addresses" sh -c 'for i in 1 2 3 4 5; do podman inspect -f "{{(index .NetworkSettings.Networks \"one\").IPAddress}}" many$i; done | sort -u | wc -l | grep -qx 5'

try "remove all containers" podman rm -af -t 0
try "no lease is left" sh -c '! find /var/lib/cni/networks -type f -name "*.*.*.*" | grep -E "/[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$"'
try "no veth is left" sh -c '! ip -o link | grep -i veth'
try "no rule of a container is left" sh -c '! iptables-save | grep -E "CNI-[0-9a-f]{20}|CNI-DN-|10\.87\.[78]\.[0-9]+/32"'
echo "1..$n"
exit $failed

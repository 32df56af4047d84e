/** Operations as a shell script for ip(8), bridge(8) and iptables-restore(8): the kernel's side of the same layout. */
import type { LinkAdd, LinkAttrs, RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";

/** ICMPv6 types of reports of multicast listeners (RFC 2710, 3810). */
const MLD_REPORTS = ["83", "84", "8f"];

/** Whether a frame, in hexadecimal, is one: the emulator sends none. They stand behind a hop-by-hop header. */
export function isMldReport(hex: string): boolean {
  return hex.startsWith("86dd", 24) && hex.startsWith("00", 40) && MLD_REPORTS.includes(hex.slice(124, 126));
}

/** IPv6 on one interface, without what the emulator does not do: addresses of its own making, router advertisements. */
export function enableIpv6(netns: string, dev: string): RtnlOp[] {
  const set = (name: string, value: string): RtnlOp => ({
    op: "sysctl.set",
    netns,
    key: `net.ipv6.conf.${dev.replaceAll(".", "/")}.${name}`,
    value,
  });
  return [set("addr_gen_mode", "1"), set("accept_ra", "0"), set("disable_ipv6", "0")];
}

/** The script that applies the operations in order; `name` gives a namespace's name as `ip netns` knows it. */
export function kernelScript(ops: readonly RtnlOp[], name: (netns: string) => string): string {
  return ops.map((op) => script(op, name).join("\n")).join("\n");
}

function script(op: RtnlOp, name: (netns: string) => string): string[] {
  const ns = name(op.netns);
  const ip = `ip -n ${ns}`;
  switch (op.op) {
    case "link.add":
      return linkAdd(op, name);
    case "link.set":
      return [
        ...linkSet(ns, op.name, op),
        ...(op.rename === undefined ? [] : [`${ip} link set ${op.name} name ${op.rename}`]),
      ];
    case "link.del":
      return [`${ip} link del ${op.name}`];
    case "addr.add":
    case "addr.del": {
      // The emulator asks nobody whether an IPv6 address is in use.
      const nodad = op.op === "addr.add" && op.address.includes(":") ? " nodad" : "";
      return [`${ip} addr ${op.op.slice(5)} ${op.address} dev ${op.dev}${option("scope", op.scope)}${nodad}`];
    }
    case "route.add":
    case "route.replace":
    case "route.del": {
      const words = [
        op.type ?? "",
        op.dst,
        op.via?.includes(":") === true && !op.dst.includes(":") && op.dst !== "default"
          ? `via inet6 ${op.via}`
          : option("via", op.via),
        option("dev", op.dev),
        option("src", op.src),
        option("metric", op.metric),
        option("scope", op.scope),
        option("mtu", op.mtu),
        option("table", op.table),
        option("proto", op.proto),
        op.onlink === true ? "onlink" : "",
      ];
      return [`${ip} route ${op.op.slice(6)} ${words.filter((w) => w !== "").join(" ")}`];
    }
    case "neigh.replace":
      return [`${ip} neigh replace ${op.address} lladdr ${op.mac} dev ${op.dev} nud ${op.state ?? "permanent"}`];
    case "neigh.del":
      return [`${ip} neigh del ${op.address} dev ${op.dev}`];
    case "fdb.replace": {
      if (op.dst === undefined) return [`bridge -n ${ns} fdb replace ${op.mac} dev ${op.dev} master static`];
      // The kernel replaces no entry for all MACs, of which there may be several.
      const verb = op.mac === "00:00:00:00:00:00" ? "append" : "replace";
      return [`bridge -n ${ns} fdb ${verb} ${op.mac} dev ${op.dev} dst ${op.dst} self permanent`];
    }
    case "fdb.del":
      return [`bridge -n ${ns} fdb del ${op.mac} dev ${op.dev}`];
    case "sysctl.set": {
      const path = op.key.replaceAll(".", "\n").replaceAll("/", ".").replaceAll("\n", "/");
      return [`ip netns exec ${ns} sh -c 'echo "${op.value}" > /proc/sys/${path}'`];
    }
    case "iptables.restore": {
      const noflush = op.noflush ? " --noflush" : "";
      return [`ip netns exec ${ns} iptables-restore -w${noflush} <<'END'`, op.text.trimEnd(), "END"];
    }
    case "vlan.add": {
      const range = op.vidEnd === undefined ? `${op.vid}` : `${op.vid}-${op.vidEnd}`;
      const flags = `${op.pvid === true ? " pvid" : ""}${op.untagged === true ? " untagged" : ""}`;
      return [`bridge -n ${ns} vlan add dev ${op.dev} vid ${range}${flags}`];
    }
    case "vlan.del":
      return [`bridge -n ${ns} vlan del dev ${op.dev} vid ${op.vid}`];
    case "vlan.flush":
      return [`bridge -n ${ns} vlan del dev ${op.dev} vid 1`];
    case "qdisc.add": {
      const tc = `tc -n ${ns} qdisc add dev ${op.dev}`;
      if (op.kind === "ingress") return [`${tc} ingress`];
      return [`${tc} root handle 1: tbf rate ${op.rate}bps burst ${op.burst} limit ${op.limit}`];
    }
    case "qdisc.del":
      return [`tc -n ${ns} qdisc del dev ${op.dev} ${op.kind === "tbf" ? "root" : "ingress"}`];
    case "filter.add":
      return [
        `tc -n ${ns} filter add dev ${op.dev} parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev ${op.redirect}`,
      ];
    case "nft.apply":
      return [`ip netns exec ${ns} nft -f - <<'END'`, op.text.trimEnd(), "END"];
    case "ipvs.restore":
      return [`ip netns exec ${ns} ipvsadm -R <<'END'`, op.text.trimEnd(), "END"];
    case "ipset.restore":
      return [`ip netns exec ${ns} ipset restore <<'END'`, op.text.trimEnd(), "END"];
    case "conntrack.flush":
      throw new Error("no walk flushes connections: conntrack(8) is not among the tools of the tests");
  }
}

function linkAdd(op: LinkAdd, name: (netns: string) => string): string[] {
  const ns = name(op.netns);
  const add = `ip -n ${ns} link add ${op.name}${option("address", op.mac)}${option("mtu", op.mtu)}`;
  const { mac: _mac, mtu: _mtu, learning: _learning, ...rest } = op;
  // For a vxlan `learning` is a word of its own; for a new port it is set once there is a master.
  const after = linkSet(
    ns,
    op.name,
    op.kind === "vxlan" || op.learning === undefined ? rest : { ...rest, learning: op.learning },
  );
  switch (op.kind) {
    case "bridge":
      return [`${add} type bridge mcast_snooping 0`, ...after];
    case "dummy":
      return [`${add} type dummy`, ...after];
    case "ifb":
      return [`${add} type ifb`, ...after];
    case "veth": {
      const peer = op.peer;
      const peerNs = peer.netns === undefined ? ns : name(peer.netns);
      const { mac: _peerMac, mtu: _peerMtu, ...peerRest } = peer;
      const far = `${option("address", peer.mac)}${option("mtu", peer.mtu)}`;
      return [
        `${add} type veth peer name ${peer.name} netns ${peerNs}${far}`,
        ...after,
        ...linkSet(peerNs, peer.name, peerRest),
      ];
    }
    case "vxlan": {
      const words = [
        `id ${op.vni} local ${op.local} dstport ${op.port ?? 8472}`,
        option("dev", op.dev),
        option("ttl", op.ttl),
        op.learning === false ? " nolearning" : "",
        op.udpCsum === false ? " noudpcsum" : "",
      ];
      return [`${add} type vxlan ${words.join("")}`, ...after];
    }
    case "ipip":
      return [`${add} type ipip local ${op.local}${option("remote", op.remote)}${option("ttl", op.ttl)}`, ...after];
  }
}

function linkSet(ns: string, dev: string, attrs: LinkAttrs): string[] {
  const words = [
    option("mtu", attrs.mtu),
    option("address", attrs.mac),
    attrs.master === undefined ? "" : attrs.master === null ? " nomaster" : ` master ${attrs.master}`,
    onOff("promisc", attrs.promisc),
    option("alias", attrs.alias),
    attrs.up === undefined ? "" : attrs.up ? " up" : " down",
  ].join("");
  const port = [onOff("hairpin", attrs.hairpin), onOff("isolated", attrs.isolated), onOff("learning", attrs.learning)];
  const flags = port.join("");
  return [
    ...(words === "" ? [] : [`ip -n ${ns} link set ${dev}${words}`]),
    ...(flags === "" ? [] : [`bridge -n ${ns} link set dev ${dev}${flags}`]),
  ];
}

function option(word: string, value: string | number | undefined): string {
  return value === undefined ? "" : ` ${word} ${value}`;
}

function onOff(word: string, value: boolean | undefined): string {
  return value === undefined ? "" : ` ${word} ${value ? "on" : "off"}`;
}

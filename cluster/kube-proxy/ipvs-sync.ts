/**
 * What a sync of ipvs mode sends to its node, as one transaction: the sysctls and kube-ipvs0 at first, then addresses, set
 * entries and virtual servers that changed, and the rules where they did.
 */
import type { Backend } from "../../backend/ops.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import type { ProxyConfig } from "./config.ts";
import type { Jump } from "./iptables.ts";
import type { ConnectionCount, IpvsRenderer } from "./ipvs.ts";

export const IPVS_DEVICE = "kube-ipvs0";
const netns = "host";

export type IpvsSync = {
  readonly ops: readonly RtnlOp[];
  readonly services: number;
  readonly octets: number;
};

/** The node's own IPv4 addresses: those of every device but lo and kube-ipvs0. */
export async function ownAddresses(backend: Backend): Promise<readonly string[]> {
  const out: string[] = [];
  for (const link of await backend.links(netns)) {
    if (link.name === "lo" || link.name === IPVS_DEVICE) continue;
    for (const a of await backend.addrs(netns, link.name))
      if (!a.address.includes(":")) out.push(a.address.split("/")[0] ?? "");
  }
  return out;
}

/** The operations of the next sync. `missing` is given for a full one: the jumps that are not there. */
export async function ipvsSync(
  renderer: IpvsRenderer,
  backend: Backend,
  config: ProxyConfig,
  source: string,
  missing: readonly Jump[] | null,
  connections: ConnectionCount,
): Promise<IpvsSync> {
  const change = renderer.update(connections);
  const sets = missing === null ? change.sets : renderer.setsText();
  const rules = missing !== null || change.rules ? renderer.rulesText(missing ?? []) : "";
  const ops: RtnlOp[] = missing === null ? [] : await setUp(backend, config);
  for (const a of change.bind) ops.push({ op: "addr.add", netns, dev: IPVS_DEVICE, address: `${a}/32` });
  if (sets !== "") ops.push({ op: "ipset.restore", netns, text: sets, source });
  if (rules !== "") ops.push({ op: "iptables.restore", netns, family: "ipv4", text: rules, noflush: true, source });
  if (change.servers !== "") ops.push({ op: "ipvs.restore", netns, text: change.servers, source });
  for (const a of change.unbind) ops.push({ op: "addr.del", netns, dev: IPVS_DEVICE, address: `${a}/32` });
  return { ops, services: change.services, octets: sets.length + rules.length + change.servers.length };
}

async function setUp(backend: Backend, config: ProxyConfig): Promise<RtnlOp[]> {
  const wanted: [string, string][] = [
    ["net.ipv4.vs.conntrack", "1"],
    ["net.ipv4.vs.expire_nodest_conn", "1"],
    ["net.ipv4.vs.expire_quiescent_template", "1"],
    ["net.ipv4.ip_forward", "1"],
    ...(config.ipvs.strictARP
      ? ([
          ["net.ipv4.conf.all.arp_ignore", "1"],
          ["net.ipv4.conf.all.arp_announce", "2"],
        ] as [string, string][])
      : []),
  ];
  const ops: RtnlOp[] = [];
  for (const [key, value] of wanted)
    if ((await backend.sysctl(netns, key)) !== value) ops.push({ op: "sysctl.set", netns, key, value });
  if ((await backend.link(netns, IPVS_DEVICE)) === undefined)
    ops.push({ op: "link.add", netns, name: IPVS_DEVICE, kind: "dummy" });
  const { tcpTimeout, tcpFinTimeout, udpTimeout } = config.ipvs;
  if (tcpTimeout + tcpFinTimeout + udpTimeout > 0)
    ops.push({ op: "ipvs.restore", netns, text: `--set ${tcpTimeout} ${tcpFinTimeout} ${udpTimeout}\n` });
  return ops;
}

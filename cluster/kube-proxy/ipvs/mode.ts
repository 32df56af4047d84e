/**
 * ipvs mode on a node, each sync one transaction: the sysctls and kube-ipvs0 at first, then addresses, set entries and
 * virtual servers that changed, and the rules where they did.
 */
import type { Backend } from "../../../backend/ops.ts";
import type { RtnlOp } from "../../../dataplane/netns/rtnl-ops.ts";
import { type Family, familyOf, WIDTH } from "../../api/ip.ts";
import type { ProxyConfig } from "../config.ts";
import { missingJumps } from "../jumps.ts";
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import { type ConnectionCount, IpvsRenderer } from "./renderer.ts";

export const IPVS_DEVICE = "kube-ipvs0";
const netns = "host";

export class IpvsMode implements ProxyMode {
  readonly #context: ModeContext;
  readonly #connections: ConnectionCount;
  readonly #renderer: IpvsRenderer;

  /** `connections` tells how many a destination has, for it to be deleted when they have ended. */
  constructor(context: ModeContext, connections: ConnectionCount) {
    this.#context = context;
    this.#connections = connections;
    this.#renderer = new IpvsRenderer(context, context.services, context.endpoints);
  }

  setNode(node: ProxyNode): void {
    this.#renderer.setNode(node);
  }

  async sync(full: boolean): Promise<SyncStats> {
    const { backend, config, node, family } = this.#context;
    const protocol = family === 4 ? "ipv4" : "ipv6";
    const renderer = this.#renderer;
    renderer.setNodeIps(await ownAddresses(backend, family));
    const change = renderer.update(this.#connections);
    const sets = full ? renderer.setsText() : change.sets;
    const missing = full ? missingJumps(await backend.iptablesSave(netns, protocol), renderer.jumps) : [];
    const text = full || change.rules ? renderer.rulesText(missing) : "";
    const { servers, services, bind, unbind } = change;
    const source = `kube-proxy on ${node.name}`;
    const ops: RtnlOp[] = full ? await setUp(backend, config) : [];
    for (const a of bind) ops.push({ op: "addr.add", netns, dev: IPVS_DEVICE, address: `${a}/${WIDTH[family]}` });
    if (sets !== "") ops.push({ op: "ipset.restore", netns, text: sets, source });
    if (text !== "") ops.push({ op: "iptables.restore", netns, family: protocol, text, noflush: true, source });
    if (servers !== "") ops.push({ op: "ipvs.restore", netns, text: servers, source });
    for (const a of unbind) ops.push({ op: "addr.del", netns, dev: IPVS_DEVICE, address: `${a}/${WIDTH[family]}` });
    if (ops.length > 0) await backend.apply(ops);
    return { kind: full ? "full" : "partial", services, octets: sets.length + text.length + servers.length };
  }

  originOf(chain: string): RuleOrigin | undefined {
    return this.#renderer.originOf(chain);
  }
}

/** The node's own addresses of a family: those of every device but lo and kube-ipvs0. */
async function ownAddresses(backend: Backend, family: Family): Promise<readonly string[]> {
  const out: string[] = [];
  for (const link of await backend.links(netns)) {
    if (link.name === "lo" || link.name === IPVS_DEVICE) continue;
    for (const a of await backend.addrs(netns, link.name))
      if (familyOf(a.address) === family) out.push(a.address.split("/")[0] ?? "");
  }
  return out;
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

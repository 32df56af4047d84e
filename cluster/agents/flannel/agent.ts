/**
 * flanneld on one node: takes its lease, makes its devices, writes rules and subnet.env, and follows the leases of the
 * other nodes. One sync is one transaction. Leaves out the resync of rules and routes that somebody else removed.
 */
import type { Backend } from "../../../backend/ops.ts";
import type { IptablesRestore, RtnlOp } from "../../../dataplane/netns/rtnl-ops.ts";
import { type Node, podCidrs } from "../../api/node.ts";
import type { Controller } from "../../client/manager.ts";
import { sameValue } from "../../store/same-value.ts";
import type { Kind, Store, WatchEvent } from "../../store/store.ts";
import {
  annotationsOf,
  drawVtepMac,
  type Lease,
  type LeaseSide,
  leaseOf,
  overwrittenIp,
  subnetOf,
  vtepMacOf,
} from "./lease.ts";
import { type FlannelConf, type FlannelNetwork, networksOf } from "./net-conf.ts";
import { planDevices, planLease, planUnlease, podMtu, type Underlay, underlayAddress } from "./plan.ts";
import { flannelRules } from "./rules.ts";
import { formatSubnetEnv } from "./subnet-env.ts";

export type FlannelOptions = {
  readonly nodeName: string;
  readonly store: Store;
  readonly backend: Backend;
  readonly conf: FlannelConf;
  readonly underlay: Underlay;
  readonly salt: number;
  readonly ipMasq?: boolean;
  /** Takes the text of subnet.env, once masquerade and forward rules are in. */
  readonly writeSubnetEnv: (text: string) => void;
};

export class FlannelAgent implements Controller {
  readonly name: string;
  readonly kinds: readonly Kind[] = ["Node"];
  readonly #options: FlannelOptions;
  readonly #peers: Map<string, Lease> = new Map();
  #ready = false;

  constructor(options: FlannelOptions) {
    this.#options = options;
    this.name = `flannel ${options.nodeName}`;
  }

  /** Whether subnet.env is written (flanneld's /readyz). */
  get ready(): boolean {
    return this.#ready;
  }

  /** Keys are names of nodes whose lease may have changed. */
  keys({ object, previous, type }: WatchEvent): readonly string[] {
    const { name } = object.metadata;
    if (name === this.#options.nodeName) return this.#ready ? [] : [name];
    const { conf } = this.#options;
    const before = previous === undefined ? null : leaseOf(previous as Node, conf);
    return type !== "MODIFIED" || !sameValue(leaseOf(object as Node, conf), before) ? [name] : [];
  }

  async sync(keys: readonly string[]): Promise<void> {
    const { store, backend, nodeName } = this.#options;
    if (keys.includes(nodeName) && !this.#ready) await this.#start();
    // Until the device is there nothing can lead through it; start looks at all nodes.
    if (!this.#ready) return;
    const names = keys.includes(nodeName) ? store.list("Node").map((n) => n.metadata.name) : keys;
    const ops: RtnlOp[] = [];
    const next = new Map<string, Lease | null>();
    for (const name of names) if (name !== nodeName) ops.push(...this.#planPeer(name, next));
    if (ops.length > 0) await backend.apply(ops);
    for (const [name, lease] of next)
      if (lease === null) this.#peers.delete(name);
      else this.#peers.set(name, lease);
  }

  #planPeer(name: string, next: Map<string, Lease | null>): readonly RtnlOp[] {
    const { store, conf, underlay } = this.#options;
    const node = store.get("Node", "", name);
    const lease = node === undefined ? null : leaseOf(node, conf);
    const wanted = lease !== null && lease.backend === conf.backend ? lease : null;
    const known = this.#peers.get(name) ?? null;
    if (sameValue(wanted, known)) return [];
    const ops = wanted === null ? [] : planLease(conf, wanted, underlay);
    next.set(name, wanted);
    return known === null ? ops : [...planUnlease(conf, known, underlay), ...ops];
  }

  async #start(): Promise<void> {
    const { store, backend, conf, underlay, nodeName, ipMasq = true } = this.#options;
    const node = store.get("Node", "", nodeName);
    // Without a podCIDR flanneld waits; the node's next event comes with it.
    if (node === undefined || podCidrs(node).length === 0) return;
    const networks = networksOf(conf);
    const sides = networks.map((network) => this.#side(node, network));
    const own: Lease = { node: nodeName, backend: conf.backend, sides };
    const rules = await Promise.all(networks.map((network, i) => this.#rules(network, sides[i] as LeaseSide)));
    await backend.apply([...planDevices(conf, own, underlay), ...rules]);
    this.#options.writeSubnetEnv(
      formatSubnetEnv({
        sides: sides.map(({ subnet }, i) => ({ network: (networks[i] as FlannelNetwork).text, subnet })),
        mtu: podMtu(conf, underlay),
        ipMasq,
      }),
    );
    this.#ready = true;
    const conditions = (node.status?.conditions ?? []).filter((c) => c.type !== "NetworkUnavailable");
    await store.update({
      ...node,
      metadata: { ...node.metadata, annotations: { ...node.metadata.annotations, ...annotationsOf(own, conf) } },
      status: {
        ...node.status,
        conditions: [
          ...conditions,
          {
            type: "NetworkUnavailable",
            status: "False",
            reason: "FlannelIsUp",
            message: "Flannel is running on this node",
          },
        ],
      },
    });
  }

  /** This node's own part of its lease in one network. */
  #side(node: Node, network: FlannelNetwork): LeaseSide {
    const { conf, underlay, nodeName, salt } = this.#options;
    const { family } = network.cidr;
    return {
      subnet: subnetOf(node, network),
      publicIp: overwrittenIp(node, family) ?? underlayAddress(underlay, family).replace(/\/.*$/, ""),
      vtepMac: conf.backend === "vxlan" ? (vtepMacOf(node, family) ?? drawVtepMac(salt, nodeName, family)) : null,
    };
  }

  async #rules(network: FlannelNetwork, { subnet }: LeaseSide): Promise<IptablesRestore> {
    const { backend, nodeName, ipMasq = true } = this.#options;
    const family = network.cidr.family === 4 ? "ipv4" : "ipv6";
    const saved = await backend.iptablesSave("host", family);
    const text = flannelRules({
      network: network.text,
      subnet,
      ipMasq,
      hasMasqJump: /^-A POSTROUTING .*-j FLANNEL-POSTRTG$/m.test(saved),
      hasForwardJump: /^-A FORWARD .*-j FLANNEL-FWD$/m.test(saved),
    });
    return { op: "iptables.restore", netns: "host", family, text, noflush: true, source: `flannel on ${nodeName}` };
  }
}

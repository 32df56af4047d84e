/** A node of the emulator: its host, its card on the underlay, and the CNI runtime that wires pods on it. */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { Host } from "../../dataplane/host/host.ts";
import type { Underlay } from "../../dataplane/host/underlay.ts";
import type { World } from "../../dataplane/host/world.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { macOf } from "../../dataplane/wire/mac-addr.ts";
import { type Conflist, parseConflist } from "../../plugins/cni/conflist.ts";
import { MemoryFiles } from "../../plugins/cni/files-memory.ts";
import type { Files } from "../../plugins/cni/host.ts";
import { memoryHost } from "../../plugins/cni/host-memory.ts";
import { type Attachment, CniRuntime } from "../../plugins/cni/invoke.ts";
import { PLUGINS } from "../../plugins/registry.ts";
import { familyOf } from "../api/ip.ts";
import type { Pod } from "../api/pod.ts";
import type { PodNetwork } from "../kubelet/pod-worker.ts";
import { forwardingOps } from "./outside.ts";

export type NodeOptions = {
  readonly name: string;
  /** Counted from 1; gives the card its MAC. */
  readonly index: number;
  /** "192.168.0.11/24", one a family, primary first. */
  readonly addresses: readonly string[];
  /** One a family. */
  readonly gateways: readonly string[];
  readonly mtu: number;
  /** The network configuration list, as it would stand in /etc/cni/net.d. */
  readonly conflist: string;
};

const CONFLIST = "/etc/cni/net.d/10-podwire.conflist";
const BRIDGE_SYSCTLS = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];
const LOOPBACK = '{"cniVersion":"1.0.0","name":"lo","plugins":[{"type":"loopback"}]}';

export class EmulatedNode implements PodNetwork {
  readonly name: string;
  /** Without their prefix lengths, primary first. */
  readonly ips: readonly string[];
  readonly host: Host;
  readonly backend: EmulatedBackend;
  /** The node's file system, as far as plugins and agents use one. */
  readonly files: Files;
  readonly #runtime: CniRuntime;
  readonly #conflist: Conflist;
  readonly #loopback: Conflist;

  private constructor(world: World, options: NodeOptions) {
    this.name = options.name;
    this.ips = options.addresses.map((a) => a.split("/")[0] ?? "");
    this.host = new Host(world, options.name);
    this.backend = new EmulatedBackend(this.host);
    this.files = new MemoryFiles();
    const draws = world.random.fork(`cni ${options.name}`);
    const host = memoryHost({
      backend: this.backend,
      plugins: PLUGINS,
      random: () => draws.next(),
      files: this.files,
    });
    this.#runtime = new CniRuntime({ exec: host.exec, files: this.files });
    this.#conflist = parseConflist(options.conflist, CONFLIST);
    this.#loopback = parseConflist(LOOPBACK, "loopback");
  }

  /** Boots a node: its card is up, has its addresses and default routes, and forwarding is on. */
  static async boot(world: World, underlay: Underlay, options: NodeOptions): Promise<EmulatedNode> {
    const node = new EmulatedNode(world, options);
    node.host.addNic("eth0", underlay, macOf(0x525400000000 + options.index), options.mtu);
    const netns = "host";
    await node.backend.apply([
      ...options.addresses.map((address): RtnlOp => ({ op: "addr.add", netns, dev: "eth0", address })),
      ...options.gateways.map((via): RtnlOp => ({ op: "route.add", netns, dst: "default", via })),
      ...forwardingOps(node.ips.map(familyOf)),
      ...BRIDGE_SYSCTLS.map((key): RtnlOp => ({ op: "sysctl.set", netns, key, value: "1" })),
    ]);
    await node.files.write(CONFLIST, options.conflist);
    return node;
  }

  /** The namespace of a sandbox path on this node. */
  netns(path: string): NetNs | undefined {
    return this.host.sandboxes.get(path);
  }

  async add(pod: Pod, netns: string, containerId: string): Promise<{ ips: readonly string[]; result: unknown }> {
    const attachment = attachmentOf(pod, netns, containerId);
    await this.#runtime.add(this.#loopback, { ...attachment, ifname: "lo" });
    const result = await this.#runtime.add(this.#conflist, attachment);
    return { ips: (result.ips ?? []).map((ip) => ip.address.split("/")[0] ?? ""), result };
  }

  async del(pod: Pod, netns: string, containerId: string): Promise<void> {
    const attachment = attachmentOf(pod, netns, containerId);
    await this.#runtime.del(this.#conflist, attachment);
    await this.#runtime.del(this.#loopback, { ...attachment, ifname: "lo" });
  }
}

/** What a container runtime tells the plugins of a pod (CNI_ARGS of the kubelet, host ports as a capability). */
function attachmentOf(pod: Pod, netns: string, containerId: string): Attachment {
  const { namespace = "default", name, uid = "" } = pod.metadata;
  const portMappings = pod.spec.containers
    .flatMap((c) => c.ports ?? [])
    .filter((p) => p.hostPort !== undefined)
    .map((p) => ({
      hostPort: p.hostPort ?? 0,
      containerPort: p.containerPort,
      protocol: (p.protocol ?? "TCP").toLowerCase(),
      ...(p.hostIP === undefined ? {} : { hostIP: p.hostIP }),
    }));
  return {
    containerId,
    netns,
    ifname: "eth0",
    args: [
      ["IgnoreUnknown", "1"],
      ["K8S_POD_NAMESPACE", namespace],
      ["K8S_POD_NAME", name],
      ["K8S_POD_INFRA_CONTAINER_ID", containerId],
      ["K8S_POD_UID", uid],
    ],
    ...(portMappings.length === 0 ? {} : { capabilityArgs: { portMappings } }),
  };
}

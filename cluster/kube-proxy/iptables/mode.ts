/** iptables mode on a node: what the renderer says, as one iptables-restore, and the sysctls it needs at first. */
import type { IptablesRestore, SysctlSet } from "../../../dataplane/netns/rtnl-ops.ts";
import { missingJumps } from "../jumps.ts";
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import { IptablesRenderer } from "./renderer.ts";

const netns = "host";

export class IptablesMode implements ProxyMode {
  readonly #context: ModeContext;
  #renderer: IptablesRenderer;

  constructor(context: ModeContext) {
    this.#context = context;
    this.#renderer = new IptablesRenderer(context, context.services, context.endpoints);
  }

  setNode(node: ProxyNode): void {
    this.#renderer = this.#renderer.withNode(node);
  }

  async sync(full: boolean): Promise<SyncStats> {
    const { backend } = this.#context;
    const services = this.#renderer.update();
    if (!full) {
      if (services === 0) return { kind: "none", services, octets: 0 };
      return { kind: "partial", services, octets: await this.#writeChanges() };
    }
    const saved = await backend.iptablesSave(netns, this.#protocol);
    const text = this.#renderer.full(missingJumps(saved, this.#renderer.jumps));
    await this.#context.backend.apply([...(await this.#sysctls()), { ...this.#restore, text }]);
    return { kind: "full", services, octets: text.length };
  }

  originOf(chain: string, comment: string): RuleOrigin | undefined {
    return this.#renderer.originOf(chain, comment);
  }

  ruleCounts(): Readonly<Record<string, number>> {
    return this.#renderer.ruleCounts();
  }

  get #protocol(): "ipv4" | "ipv6" {
    return this.#context.family === 4 ? "ipv4" : "ipv6";
  }

  get #restore(): Omit<IptablesRestore, "text"> {
    const source = `kube-proxy on ${this.#context.node.name}`;
    return { op: "iptables.restore", netns, family: this.#protocol, noflush: true, source };
  }

  /** Where the data plane takes edits, the text with all of the shared chains is not even put together. */
  async #writeChanges(): Promise<number> {
    const partial = this.#renderer.partial();
    let octets = partial.edits?.length ?? 0;
    const restore: IptablesRestore = {
      ...this.#restore,
      ...(partial.edits === undefined ? {} : { edits: partial.edits }),
      get text(): string {
        const text = partial.text();
        octets = text.length;
        return text;
      },
    };
    await this.#context.backend.apply([restore]);
    return octets;
  }

  /** Only keys that the node's kernel has: conntrack's are absent until its module is there. */
  async #sysctls(): Promise<readonly SysctlSet[]> {
    const { family, config, backend } = this.#context;
    if (family === 6) return [];
    const { conntrack, localhostNodePorts, tcpBeLiberal } = config;
    const wanted: [string, string][] = [
      ["net.netfilter.nf_conntrack_tcp_timeout_established", String(conntrack.tcpEstablishedTimeout)],
      ["net.netfilter.nf_conntrack_tcp_timeout_close_wait", String(conntrack.tcpCloseWaitTimeout)],
    ];
    if (localhostNodePorts) wanted.unshift(["net.ipv4.conf.all.route_localnet", "1"]);
    if (tcpBeLiberal) wanted.push(["net.netfilter.nf_conntrack_tcp_be_liberal", "1"]);
    const out: SysctlSet[] = [];
    for (const [key, value] of wanted) {
      const now = await backend.sysctl(netns, key);
      if (now !== undefined && now !== value) out.push({ op: "sysctl.set", netns, key, value });
    }
    return out;
  }
}

/** nftables mode on a node: what the renderer says, as one `nft -f`, each sync. */
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import { NftablesRenderer } from "./renderer.ts";
import { tableName } from "./table.ts";

export class NftablesMode implements ProxyMode {
  readonly #context: ModeContext;
  readonly #renderer: NftablesRenderer;

  constructor(context: ModeContext) {
    this.#context = context;
    this.#renderer = new NftablesRenderer(context);
  }

  setNode(node: ProxyNode): void {
    this.#renderer.setNode(node);
  }

  async sync(full: boolean): Promise<SyncStats> {
    const { services, text } = full
      ? { services: this.#context.services.changed.size, text: this.#renderer.full() }
      : this.#renderer.update();
    if (text === "") return { kind: "none", services, octets: 0 };
    await this.#context.backend.apply([
      { op: "nft.apply", netns: "host", text, source: `kube-proxy on ${this.#context.node.name}` },
    ]);
    return { kind: full ? "full" : "partial", services, octets: text.length };
  }

  originOf(chain: string): RuleOrigin | undefined {
    const own = this.#renderer.originOf(chain);
    if (own !== undefined) return own;
    return SHARED.has(chain)
      ? {
          kind: "kube-proxy",
          namespace: "kube-system",
          name: "kube-proxy",
          detail: `${tableName(this.#context.family)} ${chain}`,
        }
      : undefined;
  }
}

/** Chains that no Service has for itself. */
const SHARED: ReadonlySet<string> = new Set([
  "services",
  "masquerading",
  "mark-for-masquerade",
  "firewall-check",
  "cluster-ips-check",
  "service-endpoints-check",
  "nodeport-endpoints-check",
  "reject-chain",
]);

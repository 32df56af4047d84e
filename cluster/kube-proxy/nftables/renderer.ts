/**
 * kube-proxy's nftables mode: trackers to the text of one `nft -f` transaction (pkg/proxy/nftables/proxier.go).
 *
 * Each Service is a block of chains, sets and elements; a change compares its block with the one before, so an update
 * costs what changed. New chains are made before anything leads to them, and old ones go when nothing does any more.
 */
import { contains, familyOf, parseCidr, parseIp } from "../../api/ip.ts";
import { localDetector } from "../local-detector.ts";
import type { ModeContext, ProxyNode } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import { chooseEndpoints } from "../topology.ts";
import { type PortContext, type PortObjects, portObjects } from "./port.ts";
import { tableName, tableText } from "./table.ts";

type Block = {
  readonly chains: ReadonlyMap<string, string>;
  readonly sets: ReadonlyMap<string, string>;
  readonly elements: ReadonlyMap<string, string>;
};
const EMPTY: Block = { chains: new Map(), sets: new Map(), elements: new Map() };

/** What a text has to say of a Service. */
type Change = { readonly old: Block; readonly now: Block };

export type NftablesSettings = Pick<ModeContext, "family" | "node" | "config" | "services" | "endpoints"> & {
  readonly serviceCidrs: readonly string[];
};

export class NftablesRenderer {
  #settings: NftablesSettings;
  readonly #blocks: Map<string, Block> = new Map();
  readonly #origins: Map<string, RuleOrigin> = new Map();
  /** How many blocks want an element: two ports of a Service have one ClusterIP. */
  readonly #wanted: Map<string, number> = new Map();
  #all = false;

  constructor(settings: NftablesSettings) {
    this.#settings = settings;
  }

  /** Another record of the same node: everything is computed again. */
  setNode(node: ProxyNode): void {
    this.#settings = { ...this.#settings, node };
    this.#all = true;
  }

  /** Takes in what the trackers know; answers how many Services changed, and the commands for it. */
  update(): { readonly services: number; readonly text: string } {
    const { services, endpoints } = this.#settings;
    const changed = new Set([...services.takeChanged(), ...endpoints.takeChanged()]);
    if (this.#all) for (const key of [...services.keys(), ...this.#blocks.keys()]) changed.add(key);
    this.#all = false;
    const changes: Change[] = [];
    const context = this.#context();
    for (const key of [...changed].sort()) {
      const old = this.#blocks.get(key) ?? EMPTY;
      const now = this.#block(key, context);
      if (now === EMPTY) this.#blocks.delete(key);
      else this.#blocks.set(key, now);
      changes.push({ old, now });
    }
    // A set cannot be given another timeout: such a Service is taken away and made again.
    const anew = changes.filter(({ old, now }) =>
      [...now.sets].some(([n, spec]) => (old.sets.get(n) ?? spec) !== spec),
    );
    const before = this.#text(anew.map(({ old }) => ({ old, now: EMPTY })));
    const rest = changes.map((c) => (anew.includes(c) ? { old: EMPTY, now: c.now } : c));
    return { services: changed.size, text: before + this.#text(rest) };
  }

  /** The whole table, for a node that may have one already. */
  full(): string {
    this.update();
    const { family, config, serviceCidrs, services: _s, endpoints: _e } = this.#settings;
    const head = tableText({
      family,
      masqueradeBit: config.masqueradeBit,
      nodePortIps: this.#nodePortIps(),
      serviceCidrs: serviceCidrs.filter((c) => parseCidr(c)?.family === family),
    });
    this.#wanted.clear();
    const blocks = [...this.#blocks.keys()].sort().map((key) => this.#blocks.get(key) ?? EMPTY);
    return head + this.#text(blocks.map((now) => ({ old: EMPTY, now })));
  }

  /** The object behind a chain; behind a rule of a shared chain, kube-proxy. */
  originOf(chain: string): RuleOrigin | undefined {
    return this.#origins.get(chain);
  }

  #context(): PortContext {
    const { family, node, config } = this.#settings;
    return {
      family,
      detector: localDetector(config, family, node.podCidrs),
      masqueradeAll: config.masqueradeAll,
      nodeIp: node.ips.find((ip) => familyOf(ip) === family),
    };
  }

  #block(key: string, context: PortContext): Block {
    const { services, endpoints, node } = this.#settings;
    const ports = services.portsOf(key).map((info): PortObjects => {
      const all = endpoints.endpointsOf(key, info.id.port);
      return portObjects(info, chooseEndpoints(all, info, { nodeName: node.name, zone: node.zone }), context);
    });
    if (ports.length === 0) return EMPTY;
    for (const { origins } of ports) for (const [chain, origin] of origins) this.#origins.set(chain, origin);
    return {
      chains: new Map(ports.flatMap((p) => [...p.chains].map(([name, rules]) => [name, rules.join("\n")] as const))),
      sets: new Map(ports.flatMap((p) => [...p.sets])),
      elements: new Map(ports.flatMap((p) => [...p.elements])),
    };
  }

  /** Makes what is new, moves what leads there, then takes away what is old. */
  #text(changes: readonly Change[]): string {
    const table = tableName(this.#settings.family);
    const [made, ruled, gone, come, removed]: [string[], string[], string[], string[], string[]] = [[], [], [], [], []];
    for (const { old, now } of changes) {
      for (const [name, spec] of now.sets) {
        if (old.sets.get(name) === spec) continue;
        made.push(`add set ${table} ${name} ${spec}`);
      }
      for (const [name, rules] of now.chains) {
        if (old.chains.get(name) === rules) continue;
        if (old.chains.has(name)) ruled.push(`flush chain ${table} ${name}`);
        else made.push(`add chain ${table} ${name}`);
        for (const rule of rules === "" ? [] : rules.split("\n")) ruled.push(`add rule ${table} ${name} ${rule}`);
      }
      this.#elements(table, old.elements, now.elements, gone, come);
      for (const name of old.chains.keys()) {
        if (now.chains.has(name)) continue;
        this.#origins.delete(name);
        removed.unshift(`flush chain ${table} ${name}`);
        removed.push(`delete chain ${table} ${name}`);
      }
      for (const name of old.sets.keys()) if (!now.sets.has(name)) removed.push(`delete set ${table} ${name}`);
    }
    const lines = [...made, ...ruled, ...gone, ...come, ...removed];
    return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
  }

  #elements(
    table: string,
    old: ReadonlyMap<string, string>,
    now: ReadonlyMap<string, string>,
    gone: string[],
    come: string[],
  ): void {
    const element = (key: string, value: string): string => {
      const space = key.indexOf(" ");
      return `${table} ${key.slice(0, space)} { ${key.slice(space + 1)}${value === "" ? "" : ` : ${value}`} }`;
    };
    for (const [key, value] of old) {
      if (now.get(key) === value) continue;
      const left = (this.#wanted.get(key) ?? 1) - 1;
      if (left > 0) this.#wanted.set(key, left);
      else {
        this.#wanted.delete(key);
        gone.push(`delete element ${element(withoutComment(key), "")}`);
      }
    }
    for (const [key, value] of now) {
      if (old.get(key) === value) continue;
      const wanted = this.#wanted.get(key) ?? 0;
      this.#wanted.set(key, wanted + 1);
      if (wanted === 0) come.push(`add element ${element(key, value)}`);
    }
  }

  /** Unlike iptables mode, only the primary address unless others are asked for, and never loopback. */
  #nodePortIps(): readonly string[] | "all" {
    const { node, config, family } = this.#settings;
    const own = node.ips.filter((ip) => familyOf(ip) === family);
    const wanted = config.nodePortAddresses;
    if (wanted.length === 0 || wanted.includes("primary")) return own.slice(0, 1);
    const cidrs = wanted.flatMap((c) => parseCidr(c) ?? []).filter((c) => c.family === family);
    // CIDRs of the other family alone say nothing of this one.
    if (cidrs.length === 0 || cidrs.some((c) => c.bits === 0)) return "all";
    return own.filter((text) => {
      const ip = parseIp(text);
      return ip !== null && cidrs.some((c) => contains(c, ip));
    });
  }
}

function withoutComment(key: string): string {
  return key.replace(/ comment ".*"$/, "");
}

/**
 * A node's own dumps as operations: `ip -j link`, `addr`, `route` and `neigh`, iptables-save, ipset save, ipvsadm -Sn, nft
 * list ruleset. What leads off the node is not in them, so every interface but loopback becomes one that takes packets and
 * asks no neighbour.
 */
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { InputError } from "../manifests/input-error.ts";

export type Dump = { readonly file: string; readonly text: string };

export type Dumps = {
  readonly links?: Dump;
  readonly addrs?: Dump;
  readonly routes?: Dump;
  readonly neighs?: Dump;
  readonly iptables?: Dump;
  readonly ipsets?: Dump;
  readonly ipvs?: Dump;
  readonly nft?: Dump;
};

/** Neighbours that did not answer when they were asked. */
export type Silent = { readonly dev: string; readonly address: string };

type Item = Readonly<Record<string, unknown>>;

/** In an order in which they can be applied. Throws InputError naming file, entry and field. */
export function opsOf(dumps: Dumps): RtnlOp[] {
  const links = dumps.links === undefined ? [] : parseList(dumps.links);
  const addrs = dumps.addrs === undefined ? [] : parseList(dumps.addrs);
  const routes = dumps.routes === undefined ? [] : parseList(dumps.routes);
  const ops: RtnlOp[] = [{ op: "sysctl.set", netns: "host", key: "net.ipv4.ip_forward", value: "1" }];
  ops.push(...linkOps(dumps, links, addrs, routes));
  for (const [i, link] of addrs.entries()) ops.push(...addrOps(dumps.addrs as Dump, link, i));
  for (const [i, route] of routes.entries()) ops.push(...routeOps(dumps.routes as Dump, route, i));
  for (const { dev, address, mac } of neighbours(dumps))
    if (mac !== "") ops.push({ op: "neigh.replace", netns: "host", dev, address, mac });
  const { ipsets, iptables, ipvs, nft } = dumps;
  const netns = "host";
  // Rules name sets.
  if (ipsets !== undefined) ops.push({ op: "ipset.restore", netns, text: ipsets.text, source: ipsets.file });
  if (iptables !== undefined) {
    const { file: source, text } = iptables;
    ops.push({ op: "iptables.restore", netns, family: "ipv4", text, noflush: false, source });
  }
  if (ipvs !== undefined) ops.push({ op: "ipvs.restore", netns, text: ipvs.text, source: ipvs.file });
  if (nft !== undefined) ops.push({ op: "nft.apply", netns, text: nft.text, source: nft.file });
  return ops;
}

/** The neighbours that the dump says do not answer. */
export function silentOf(dumps: Dumps): Silent[] {
  return neighbours(dumps).filter((n) => n.mac === "" && n.failed);
}

type Neighbour = Silent & { readonly mac: string; readonly failed: boolean };

function neighbours({ neighs }: Dumps): Neighbour[] {
  if (neighs === undefined) return [];
  return parseList(neighs).flatMap((entry, i): Neighbour[] => {
    const address = textField(neighs, entry, "dst", i);
    if (address.includes(":")) return [];
    const state = Array.isArray(entry.state) ? entry.state : [];
    const mac =
      typeof entry.lladdr === "string" && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(entry.lladdr) ? entry.lladdr : "";
    return [{ dev: textField(neighs, entry, "dev", i), address, mac, failed: state.includes("FAILED") }];
  });
}

/** Interfaces of the link dump, and those that only the others name. */
function linkOps(dumps: Dumps, links: readonly Item[], addrs: readonly Item[], routes: readonly Item[]): RtnlOp[] {
  const ops: RtnlOp[] = [];
  const known = new Set(["lo"]);
  const neighs = neighbours(dumps);
  const add = (name: string, more: { readonly mtu?: number; readonly up: boolean }): void => {
    if (known.has(name)) return;
    known.add(name);
    ops.push({ op: "link.add", netns: "host", name, kind: "dummy", ...more });
  };
  for (const list of [links, addrs]) {
    for (const [i, link] of list.entries()) {
      const dump = (list === links ? dumps.links : dumps.addrs) as Dump;
      const flags = Array.isArray(link.flags) ? link.flags : ["UP"];
      const mtu = typeof link.mtu === "number" ? { mtu: Math.min(link.mtu, 65535) } : {};
      add(textField(dump, link, "ifname", i), { ...mtu, up: flags.includes("UP") });
    }
  }
  for (const route of routes) if (typeof route.dev === "string") add(route.dev, { up: true });
  for (const { dev } of neighs) add(dev, { up: true });
  return ops;
}

function addrOps(dump: Dump, link: Item, at: number): RtnlOp[] {
  const dev = textField(dump, link, "ifname", at);
  const infos = Array.isArray(link.addr_info) ? (link.addr_info as Item[]) : [];
  return infos.flatMap((info): RtnlOp[] => {
    if (info.family !== "inet" || dev === "lo") return [];
    const address = `${textField(dump, info, "local", at)}/${String(info.prefixlen ?? 32)}`;
    return [{ op: "addr.add", netns: "host", dev, address }];
  });
}

const TYPES: ReadonlySet<unknown> = new Set([undefined, "unicast", "blackhole", "unreachable", "prohibit"]);

function routeOps(dump: Dump, route: Item, at: number): RtnlOp[] {
  if (!TYPES.has(route.type) || route.table === "local" || route.dev === "lo") return [];
  const dst = textField(dump, route, "dst", at);
  if (dst.includes(":")) return [];
  const dev = typeof route.dev === "string" ? { dev: route.dev } : {};
  const via = typeof route.gateway === "string" ? { via: route.gateway, onlink: route.dev !== undefined } : {};
  const src = typeof route.prefsrc === "string" ? { src: route.prefsrc } : {};
  const metric = typeof route.metric === "number" ? { metric: route.metric } : {};
  const type = route.type === undefined ? {} : { type: route.type as "blackhole" };
  return [{ op: "route.replace", netns: "host", dst, ...dev, ...via, ...src, ...metric, ...type }];
}

function parseList({ file, text }: Dump): readonly Item[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : "no JSON";
    throw new InputError({ file, line: 0, field: "JSON", found, expected: "what `ip -j` prints" }, { cause });
  }
  if (!Array.isArray(value) || !value.every((v) => typeof v === "object" && v !== null)) {
    throw new InputError({
      file,
      line: 0,
      field: "document",
      found: JSON.stringify(value).slice(0, 40),
      expected: "a list of objects, as `ip -j` prints",
    });
  }
  // `ip -j addr show dev X` pads its list with empty objects.
  return (value as Item[]).filter((item) => Object.keys(item).length > 0);
}

function textField({ file }: Dump, item: Item, field: string, at: number): string {
  const value = item[field];
  if (typeof value === "string" && value !== "") return value;
  const found = value === undefined ? "nothing" : JSON.stringify(value);
  throw new InputError({ file, line: 0, field: `[${at}].${field}`, found, expected: "a name or an address" });
}

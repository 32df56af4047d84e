/**
 * flannel's net-conf.json (the kube subnet manager's copy, from the ConfigMap kube-flannel-cfg). Keys of Backend are
 * matched without case, as flannel does. Leaves out nftables mode, and the backends that are not planned here.
 */
import { type Cidr, type Family, familyOf, parseCidr } from "../../api/ip.ts";
import { show } from "../../api/issue.ts";
import { isMapping } from "../../api/schema.ts";
import { InputError } from "../../manifests/input-error.ts";
import { jsonLineOf } from "../../manifests/json-lines.ts";

export type FlannelBackend = "vxlan" | "host-gw";

export type FlannelConf = {
  /** Null where EnableIPv4 is false. */
  readonly network: string | null;
  /** Null unless EnableIPv6 is true. */
  readonly ipv6Network: string | null;
  readonly backend: FlannelBackend;
  readonly vni: number;
  /** UDP port; flannel leaves it to the kernel, which takes 8472. */
  readonly port: number;
  /** Peers on the same link get a plain route and no tunnel. */
  readonly directRouting: boolean;
  /** Replaces the underlay's MTU; the overhead is taken off it. */
  readonly mtu: number | null;
};

/** For networks of one or both families. */
export function flannelConf(
  networks: string | readonly string[],
  backend: FlannelBackend = "vxlan",
  change: Partial<FlannelConf> = {},
): FlannelConf {
  const list = typeof networks === "string" ? [networks] : networks;
  const [network, ipv6Network] = ([4, 6] as const).map((family) => list.find((n) => familyOf(n) === family) ?? null);
  return {
    network: network ?? null,
    ipv6Network: ipv6Network ?? null,
    backend,
    vni: 1,
    port: 8472,
    directRouting: false,
    mtu: null,
    ...change,
  };
}

export function parseFlannelConf(text: string, file: string): FlannelConf {
  const fail = (path: readonly string[], found: string, expected: string): never => {
    throw new InputError({
      file,
      line: path.length === 0 ? 1 : jsonLineOf(text, path),
      field: path.join(".") || "document",
      found,
      expected,
    });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(
      { file, line: 1, field: "JSON", found: String((error as Error).message), expected: "valid JSON" },
      { cause: error },
    );
  }
  if (!isMapping(value)) return fail([], show(value), "a mapping with Network");
  const { Backend: given = { Type: "vxlan" } } = value;
  const enabled = (key: string, otherwise: boolean): boolean => {
    const found = value[key] ?? otherwise;
    return typeof found === "boolean" ? found : fail([key], show(found), "true or false");
  };
  const [four, six] = [enabled("EnableIPv4", true), enabled("EnableIPv6", false)];
  if (!four && !six) return fail(["EnableIPv4"], "false", "true, or EnableIPv6");
  const networkAt = (key: string, family: Family, example: string): string => {
    const found = value[key];
    return typeof found === "string" && parseCidr(found)?.family === family
      ? found
      : fail([key], show(found), `a CIDR such as ${example}`);
  };
  const network = four ? networkAt("Network", 4, "10.244.0.0/16") : null;
  const ipv6Network = six ? networkAt("IPv6Network", 6, "fd00:10:244::/56") : null;
  if (!isMapping(given)) return fail(["Backend"], show(given), "a mapping with Type");
  const backend = new Map(Object.entries(given).map(([key, v]) => [key.toLowerCase(), { key, v }]));
  const type = backend.get("type")?.v ?? "udp";
  if (type !== "vxlan" && type !== "host-gw") return fail(["Backend", "Type"], show(type), "vxlan or host-gw");
  const number = (name: string, min: number, max: number): number | undefined => {
    const entry = backend.get(name);
    if (entry === undefined) return undefined;
    if (typeof entry.v !== "number" || !Number.isInteger(entry.v) || entry.v < min || entry.v > max)
      return fail(["Backend", entry.key], show(entry.v), `an integer from ${min} to ${max}`);
    return entry.v;
  };
  const direct = backend.get("directrouting");
  if (direct !== undefined && typeof direct.v !== "boolean")
    fail(["Backend", direct.key], show(direct.v), "true or false");
  const port = number("port", 0, 65535) ?? 0;
  return {
    network,
    ipv6Network,
    backend: type,
    vni: number("vni", 1, 16777215) ?? 1,
    port: port === 0 ? 8472 : port,
    directRouting: direct?.v === true,
    mtu: number("mtu", 68, 65535) ?? null,
  };
}

/** A network that flannel serves. */
export type FlannelNetwork = { readonly text: string; readonly cidr: Cidr };

/** IPv4 before IPv6. */
export function networksOf({ network, ipv6Network }: FlannelConf): readonly FlannelNetwork[] {
  return [network, ipv6Network].flatMap((text) => {
    if (text === null) return [];
    const cidr = parseCidr(text);
    if (cidr === null) throw new Error(`flannel: Network ${text}: not a CIDR`);
    return [{ text, cidr }];
  });
}

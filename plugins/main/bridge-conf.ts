/** The configuration of the bridge plugin: its options as the reference documents them, read and checked. */
import { parseCniArgs } from "../cni/cni-args.ts";
import { BAD_CONFIG, CniError } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import { parseMacRequest } from "../cni/mac-request.ts";
import { parseDns } from "../cni/result.ts";
import { isIfname } from "../cni/skel.ts";
import type { Dns, JsonObject } from "../cni/types.ts";
import { parseRulesBackend, type RulesBackend } from "../netfilter/masq.ts";

export type BridgeConf = {
  readonly network: string;
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  /** Undefined: iptables, and nftables where that is not installed. */
  readonly masqBackend: RulesBackend | undefined;
  readonly macspoofchk: boolean;
  /** Undefined: the kernel's. */
  readonly mtu: number | undefined;
  readonly hairpin: boolean;
  readonly promisc: boolean;
  readonly isolated: boolean;
  /** Of the container's interface. */
  readonly mac: string | undefined;
  /** The container's VLAN: frames without a tag are of it; 0 for none. */
  readonly vlan: number;
  /** VLANs whose frames come to the container with their tags, ascending. */
  readonly trunk: readonly number[];
  /** The port stays in the VLANs that a new port is in. */
  readonly preserveDefaultVlan: boolean;
  readonly enableDad: boolean;
  readonly containerUp: boolean;
  /** Undefined: no addresses, the bridge is all there is. */
  readonly ipamType: string | undefined;
  /** Beats what IPAM says, where given. */
  readonly dns: Dns | undefined;
};

const MAX_MTU = 65535;
const MAX_VID = 4094;

/** Ranges and single VLANs, each once. */
function parseTrunk(fields: Fields): readonly number[] {
  const vids = new Set<number>();
  for (const item of fields.objects("vlanTrunk")) {
    const [min, max, id] = ["minID", "maxID", "id"].map((key) => item.int(key, 1, MAX_VID));
    if (min !== undefined && max === undefined) throw item.bad("maxID", "a VLAN, as minID is given");
    if (min === undefined && max !== undefined) throw item.bad("minID", "a VLAN, as maxID is given");
    if (min !== undefined && max !== undefined) {
      if (max < min) throw item.bad("maxID", `at least ${min}, which is minID`);
      for (let vid = min; vid <= max; vid++) vids.add(vid);
    }
    if (id !== undefined) vids.add(id);
  }
  return [...vids].sort((a, b) => a - b);
}

/** The interface that has the gateway's addresses: the bridge, or with a VLAN a veth into that. */
export function gatewayOf({ bridge, vlan }: Pick<BridgeConf, "bridge" | "vlan">): string {
  return vlan === 0 ? bridge : `${bridge}.${vlan}`;
}

export function hasVlans({ vlan, trunk }: Pick<BridgeConf, "vlan" | "trunk">): boolean {
  return vlan !== 0 || trunk.length > 0;
}

function parseOwnDns(fields: Fields): Dns | undefined {
  const dns = parseDns(fields.object("dns"));
  return Object.keys(dns).length === 0 ? undefined : dns;
}

export function parseBridgeConf(conf: JsonObject, network: string, cniArgs: string): BridgeConf {
  const fields = new Fields(conf);
  const flag = (key: string): boolean => fields.flag(key) ?? false;
  const bridge = fields.text("bridge") || "cni0";
  if (!isIfname(bridge)) throw fields.bad("bridge", "the name of an interface, at most 15 octets");
  const hairpin = flag("hairpinMode");
  const promisc = flag("promiscMode");
  if (hairpin && promisc)
    throw new CniError(BAD_CONFIG, "promiscMode: found true, expected false where hairpinMode is true");
  const ipamType = fields.object("ipam")?.text("type") || undefined;
  const containerUp = !flag("disableContainerInterface");
  if (!containerUp && ipamType !== undefined) {
    throw new CniError(BAD_CONFIG, "disableContainerInterface: found true, expected false where ipam gives addresses");
  }
  const isDefaultGateway = flag("isDefaultGateway");
  const isGateway = flag("isGateway") || isDefaultGateway;
  const vlan = fields.int("vlan", 0, MAX_VID) ?? 0;
  if (isGateway && !isIfname(gatewayOf({ bridge, vlan })))
    throw badField("bridge", bridge, `a name that leaves room for .${vlan}, the gateway's interface`);
  return {
    network,
    bridge,
    isGateway,
    isDefaultGateway,
    forceAddress: flag("forceAddress"),
    ipMasq: flag("ipMasq"),
    masqBackend: parseRulesBackend(fields, "ipMasqBackend"),
    macspoofchk: flag("macspoofchk"),
    mtu: fields.int("mtu", 0, MAX_MTU) || undefined,
    hairpin,
    promisc,
    isolated: flag("portIsolation"),
    mac: parseMacRequest(fields, parseCniArgs(cniArgs)),
    vlan,
    trunk: parseTrunk(fields),
    preserveDefaultVlan: flag("preserveDefaultVlan"),
    enableDad: flag("enabledad"),
    containerUp,
    ipamType,
    dns: parseOwnDns(fields),
  };
}

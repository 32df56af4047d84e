/** The configuration of the bridge plugin: its options as the reference documents them, read and checked. */
import { parseCniArgs } from "../cni/cni-args.ts";
import { BAD_CONFIG, CniError, UNSUPPORTED_FIELD } from "../cni/error.ts";
import { Fields, show } from "../cni/fields.ts";
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
  readonly enableDad: boolean;
  readonly containerUp: boolean;
  /** Undefined: no addresses, the bridge is all there is. */
  readonly ipamType: string | undefined;
  /** Beats what IPAM says, where given. */
  readonly dns: Dns | undefined;
};

const MAX_MTU = 65535;

function unsupported(fields: Fields, key: string): CniError {
  return new CniError(
    UNSUPPORTED_FIELD,
    `${fields.path(key)}: found ${show(fields.raw(key))}, which is not supported yet`,
  );
}

/** Options that would change the wiring if we ignored them. */
function refuseUnsupported(fields: Fields): void {
  if ((fields.int("vlan", 0, 4094) ?? 0) !== 0) throw unsupported(fields, "vlan");
  if (fields.list("vlanTrunk").length > 0) throw unsupported(fields, "vlanTrunk");
}

function parseOwnDns(fields: Fields): Dns | undefined {
  const dns = parseDns(fields.object("dns"));
  return Object.keys(dns).length === 0 ? undefined : dns;
}

export function parseBridgeConf(conf: JsonObject, network: string, cniArgs: string): BridgeConf {
  const fields = new Fields(conf);
  refuseUnsupported(fields);
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
  return {
    network,
    bridge,
    isGateway: flag("isGateway") || isDefaultGateway,
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
    enableDad: flag("enabledad"),
    containerUp,
    ipamType,
    dns: parseOwnDns(fields),
  };
}

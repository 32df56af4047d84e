/**
 * The rules of the firewall plugin, with the names of the reference plugin (filter table):
 *
 *     FORWARD       -j CNI-FORWARD                        first, so that a policy of DROP does not cut containers off
 *     CNI-FORWARD   -j CNI-ADMIN                          first: what the administrator puts there
 *                   -d IP -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
 *                   -s IP -j ACCEPT
 *     ingressPolicy other than open:
 *     FORWARD       -j CNI-ISOLATION-STAGE-1
 *     STAGE-1       -i BRIDGE ! -o BRIDGE -j CNI-ISOLATION-STAGE-2     (isolated: -i BRIDGE -o BRIDGE -j DROP, too)
 *     STAGE-2       -o BRIDGE -j DROP
 *
 * The stages belong to all networks and stay, as with the reference; both end in RETURN. All functions are pure.
 */
import { bitsOf, type Cidr, formatIp } from "../../ipam/ip.ts";
import { comment, parseSaved, type SavedRule, type SavedTable } from "./rules-text.ts";

export const FORWARD_CHAIN = "CNI-FORWARD";
export const STAGE_1 = "CNI-ISOLATION-STAGE-1";
export const STAGE_2 = "CNI-ISOLATION-STAGE-2";
const RULES_NOTE = comment("CNI firewall plugin rules");
const ADMIN_NOTE = comment("CNI firewall plugin admin overrides");

export type IngressPolicy = "open" | "same-bridge" | "isolated";

export function parseFilter(saved: string, adminChain: string): SavedTable {
  return parseSaved(
    saved,
    "filter",
    (chain) => chain === "FORWARD" || chain === adminChain || chain.startsWith("CNI-"),
  );
}

function addressOf(ip: Cidr): string {
  return `${formatIp(ip.ip)}/${bitsOf(ip.ip.family)}`;
}

/** As iptables-save prints them. */
function ipRules(ip: Cidr): readonly string[] {
  const address = addressOf(ip);
  return [`-d ${address} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `-s ${address} -j ACCEPT`];
}

function has(saved: SavedTable, chain: string, rule: string): boolean {
  return (saved.get(chain) ?? []).some(({ text }) => text === rule);
}

/** Missing shared chains, and their places. */
function sharedLines(saved: SavedTable, adminChain: string): readonly string[] {
  const lines: string[] = [];
  if (!saved.has(FORWARD_CHAIN)) lines.push(`-N ${FORWARD_CHAIN}`);
  if (!saved.has(adminChain)) lines.push(`-N ${adminChain}`);
  const jump = `${RULES_NOTE} -j ${FORWARD_CHAIN}`;
  if (!has(saved, "FORWARD", jump)) lines.push(`-I FORWARD 1 ${jump}`);
  const admin = `${ADMIN_NOTE} -j ${adminChain}`;
  if (!has(saved, FORWARD_CHAIN, admin)) lines.push(`-I ${FORWARD_CHAIN} 1 ${admin}`);
  return lines;
}

function isolationLines(saved: SavedTable, policy: IngressPolicy, bridge: string): readonly string[] {
  if (policy === "open") return [];
  const note = comment(`CNI firewall plugin rules (ingressPolicy: ${policy})`);
  const lines = [STAGE_1, STAGE_2].filter((chain) => !saved.has(chain)).map((chain) => `-N ${chain}`);
  const add = (chain: string, rule: string, first = false): void => {
    if (!has(saved, chain, rule)) lines.push(first ? `-I ${chain} 1 ${rule}` : `-A ${chain} ${rule}`);
  };
  const jumps = (saved.get("FORWARD") ?? []).some(({ words }) => words.at(-1) === STAGE_1);
  if (!jumps) lines.push(`-I FORWARD 1 ${comment("CNI firewall plugin rules")} -j ${STAGE_1}`);
  add(STAGE_1, `-i ${bridge} ! -o ${bridge} ${note} -j ${STAGE_2}`, true);
  if (policy === "isolated") add(STAGE_1, `-i ${bridge} -o ${bridge} ${note} -j DROP`, true);
  const returns = (chain: string): boolean => (saved.get(chain) ?? []).some(({ words }) => words.at(-1) === "RETURN");
  if (!returns(STAGE_1)) lines.push(`-A ${STAGE_1} ${note} -j RETURN`);
  add(STAGE_2, `-o ${bridge} ${note} -j DROP`, true);
  if (!returns(STAGE_2)) lines.push(`-A ${STAGE_2} ${note} -j RETURN`);
  return lines;
}

export function filterText(lines: readonly string[]): string | undefined {
  return lines.length === 0 ? undefined : `*filter\n${lines.join("\n")}\nCOMMIT\n`;
}

export type FirewallWish = {
  readonly ips: readonly Cidr[];
  readonly adminChain: string;
  readonly policy: IngressPolicy;
  /** Needed where the policy is not open. */
  readonly bridge: string;
};

/** The transaction that lets traffic of addresses of one family through. */
export function firewallAddText(saved: SavedTable, wish: FirewallWish): string | undefined {
  return filterText([
    ...sharedLines(saved, wish.adminChain),
    ...isolationLines(saved, wish.policy, wish.bridge),
    ...wish.ips
      .flatMap(ipRules)
      .filter((rule) => !has(saved, FORWARD_CHAIN, rule))
      .map((rule) => `-A ${FORWARD_CHAIN} ${rule}`),
  ]);
}

export function firewallDelText(saved: SavedTable, ips: readonly Cidr[]): string | undefined {
  const ours = new Set(ips.flatMap(ipRules));
  const rules: readonly SavedRule[] = saved.get(FORWARD_CHAIN) ?? [];
  return filterText(rules.filter(({ text }) => ours.has(text)).map(({ text }) => `-D ${FORWARD_CHAIN} ${text}`));
}

/** What is missing; undefined if all is there. */
export function firewallMissing(saved: SavedTable, wish: FirewallWish): string | undefined {
  const [line] = (firewallAddText(saved, wish) ?? "").split("\n").filter((text) => text.startsWith("-"));
  return line === undefined ? undefined : `filter: is missing ${line}`;
}

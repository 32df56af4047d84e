/** A ruleset in the shape that kube-proxy writes in iptables mode: 8 nat rules for a ClusterIP with two endpoints. */
import { formatIpv4, type Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";

/** What is written for one service: its chains, its line in KUBE-SERVICES, its rules. */
export type ServiceLines = {
  readonly chains: readonly string[];
  readonly jump: string;
  readonly rules: readonly string[];
};

/** The lines of UDP service number `n`, on port 80, with these endpoints. */
export function serviceLines(n: number, address: Ipv4Addr, endpoints: readonly string[], port: number): ServiceLines {
  const id = n.toString(36).toUpperCase().padStart(16, "A");
  const ip = formatIpv4(address);
  const chains = [`KUBE-SVC-${id}`];
  const rules = [`-A KUBE-SVC-${id} ! -s 10.244.0.0/16 -d ${ip}/32 -p udp -m udp --dport 80 -j KUBE-MARK-MASQ`];
  for (const [i, endpoint] of endpoints.entries()) {
    const sep = `KUBE-SEP-${i}${id.slice(1)}`;
    const left = endpoints.length - i;
    const chance = left === 1 ? "" : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
    chains.push(sep);
    rules.push(`-A KUBE-SVC-${id} ${chance}-j ${sep}`);
    rules.push(`-A ${sep} -s ${endpoint}/32 -j KUBE-MARK-MASQ`);
    rules.push(`-A ${sep} -p udp -m udp -j DNAT --to-destination ${endpoint}:${port}`);
  }
  return { chains, jump: `-d ${ip}/32 -p udp -m udp --dport 80 -j KUBE-SVC-${id}`, rules };
}

/** iptables-restore text for `count` UDP services on port 80, each with the same endpoints. */
export function serviceRules(
  count: number,
  address: (n: number) => Ipv4Addr,
  endpoints: readonly string[],
  port: number,
): string {
  const chains: string[] = [];
  const jumps: string[] = [];
  const rules: string[] = [];
  for (let n = 0; n < count; n++) {
    const lines = serviceLines(n, address(n), endpoints, port);
    for (const chain of lines.chains) chains.push(`:${chain} - [0:0]`);
    jumps.push(`-A KUBE-SERVICES ${lines.jump}`);
    rules.push(...lines.rules);
  }
  return [
    "*filter",
    ":KUBE-FORWARD - [0:0]",
    "-A FORWARD -j KUBE-FORWARD",
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
    "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "COMMIT",
    "*nat",
    ":KUBE-SERVICES - [0:0]",
    ":KUBE-POSTROUTING - [0:0]",
    ":KUBE-MARK-MASQ - [0:0]",
    ...chains,
    "-A PREROUTING -j KUBE-SERVICES",
    "-A OUTPUT -j KUBE-SERVICES",
    "-A POSTROUTING -j KUBE-POSTROUTING",
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
    "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    ...jumps,
    ...rules,
    "COMMIT",
    "",
  ].join("\n");
}

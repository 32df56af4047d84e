/** Names for numbers, as /etc/services and /etc/protocols give them: those that rules are commonly written with. */
const SERVICES: Readonly<Record<string, number>> = {
  ftp: 21,
  ssh: 22,
  telnet: 23,
  smtp: 25,
  domain: 53,
  bootps: 67,
  bootpc: 68,
  tftp: 69,
  http: 80,
  pop3: 110,
  ntp: 123,
  imap2: 143,
  snmp: 161,
  bgp: 179,
  ldap: 389,
  https: 443,
  syslog: 514,
  ldaps: 636,
  imaps: 993,
  mysql: 3306,
  postgresql: 5432,
};

export function serviceByName(name: string): number | undefined {
  return Object.hasOwn(SERVICES, name) ? SERVICES[name] : undefined;
}

/** Number and the name that rules are printed with. */
const PROTOCOLS: readonly (readonly [number, string])[] = [
  [1, "icmp"],
  [2, "igmp"],
  [4, "ipencap"],
  [6, "tcp"],
  [17, "udp"],
  [33, "dccp"],
  [41, "ipv6"],
  [47, "gre"],
  [50, "esp"],
  [51, "ah"],
  [58, "ipv6-icmp"],
  [89, "ospf"],
  [94, "ipip"],
  [103, "pim"],
  [112, "vrrp"],
  [115, "l2tp"],
  [132, "sctp"],
  [136, "udplite"],
];
const BY_NAME: ReadonlyMap<string, number> = new Map([
  ...PROTOCOLS.map(([n, name]) => [name, n] as const),
  ["all", 0] as const,
  ["icmpv6", 58] as const,
]);
const BY_NUMBER: ReadonlyMap<number, string> = new Map(PROTOCOLS);

/** By name or number; undefined for what is neither. */
export function parseProtocol(text: string): number | undefined {
  const named = BY_NAME.get(text) ?? BY_NAME.get(text.toLowerCase());
  if (named !== undefined) return named;
  return /^[0-9]{1,3}$/.test(text) && Number(text) < 256 ? Number(text) : undefined;
}

export function protocolText(n: number): string {
  return BY_NUMBER.get(n) ?? String(n);
}

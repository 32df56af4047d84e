/**
 * The resolver of a pod: asks its nameserver over emulated UDP, as glibc does with resolv.conf (resolv.conf(5)): the names
 * of the search list in order, 5 seconds a try, two tries.
 */
import { decode, encode } from "dns-packet";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIp, type IpKey, isLinkLocal6, parseIp } from "../../dataplane/wire/ip-key.ts";
import type { Family } from "../api/ip.ts";
import { type ResolvConf, searchNames } from "../dns/resolv-conf.ts";

export type Resolution =
  | { readonly ok: true; readonly name: string; readonly addresses: readonly string[] }
  | { readonly ok: false; readonly code: "NXDOMAIN" | "NODATA" | "ETIMEDOUT" | "SERVFAIL"; readonly asked: string };

const TRY = 5_000;
const TRIES = 2;

const TYPES: Readonly<Record<Family, "A" | "AAAA">> = { 4: "A", 6: "AAAA" };

/**
 * The families to ask for where nobody says one: those that the namespace has addresses of (AI_ADDRCONFIG), IPv6 first, as
 * glibc sorts what it gets (RFC 3484).
 */
export function familiesHere(ns: NetNs): readonly Family[] {
  const devs = [...ns.devs.values()].filter((dev) => dev.driver.kind !== "loopback");
  const six = devs.some((dev) => dev.addrs6.some((a) => !isLinkLocal6(a.address)));
  const four = devs.some((dev) => dev.addrs.length > 0);
  return [...(six ? [6 as const] : []), ...(four || !six ? [4 as const] : [])];
}

/** The addresses of a name, in the order of the families that are asked for. */
export function resolve(
  ns: NetNs,
  name: string,
  conf: ResolvConf,
  families: readonly Family[] = familiesHere(ns),
): Resolution {
  const server = parseIp(conf.nameservers[0] ?? "");
  if (server === undefined) return { ok: false, code: "SERVFAIL", asked: name };
  let failed: Resolution = { ok: false, code: "NXDOMAIN", asked: name };
  for (const candidate of searchNames(name, conf)) {
    const answer = together(families.map((family) => ask(ns, server, candidate, TYPES[family])));
    if (answer.ok || answer.code === "ETIMEDOUT") return answer;
    if (answer.code === "NODATA" || failed.code === "NXDOMAIN") failed = answer;
  }
  return failed;
}

/** The names of an address, which `found` calls its addresses. */
export function resolveReverse(ns: NetNs, reverse: string, conf: ResolvConf): Resolution {
  const server = parseIp(conf.nameservers[0] ?? "");
  return server === undefined ? { ok: false, code: "SERVFAIL", asked: reverse } : ask(ns, server, reverse, "PTR");
}

/** Addresses of all answers; where there are none, the first that says that the name exists, or else the first. */
function together(answers: readonly Resolution[]): Resolution {
  const found = answers.filter((a) => a.ok);
  if (found[0] !== undefined) return { ...found[0], addresses: found.flatMap((a) => a.addresses) };
  return answers.find((a) => !a.ok && a.code === "NODATA") ?? (answers[0] as Resolution);
}

function ask(ns: NetNs, server: IpKey, name: string, type: "A" | "AAAA" | "PTR"): Resolution {
  const id = ns.random.int(0x10000);
  let answer: Resolution | null = null;
  const socket = UdpSocket.bind(ns, ANY, 0, {
    datagram(_s, bytes, off, len) {
      const packet = decode(Buffer.from(bytes.slice(off, off + len)));
      if (packet.id !== id) return;
      const rcode = (packet as { rcode?: string }).rcode ?? "NOERROR";
      const addresses = (packet.answers ?? []).flatMap((a) => (a.type === type ? [a.data as string] : []));
      if (addresses.length > 0) answer = { ok: true, name, addresses };
      else if (rcode === "NXDOMAIN") answer = { ok: false, code: "NXDOMAIN", asked: name };
      else answer = { ok: false, code: rcode === "NOERROR" ? "NODATA" : "SERVFAIL", asked: name };
    },
  });
  if (socket === null) return { ok: false, code: "SERVFAIL", asked: name };
  const query = encode({ type: "query", id, flags: 0x100, questions: [{ type, name }] });
  const { loop } = ns.world;
  for (let i = 0; i < TRIES && answer === null; i++) {
    if (!socket.send(server, 53, query, 0, query.length)) break;
    loop.run({ done: () => answer !== null, deadline: loop.time + TRY });
  }
  socket.close();
  return answer ?? { ok: false, code: "ETIMEDOUT", asked: `${name} of ${formatIp(server)}` };
}

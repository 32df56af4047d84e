/**
 * The resolver of a pod: asks its nameserver over emulated UDP, as glibc does with resolv.conf (resolv.conf(5)): the names
 * of the search list in order, 5 seconds a try, two tries.
 */
import { decode, encode } from "dns-packet";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIpv4, type Ipv4Addr, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { type ResolvConf, searchNames } from "../dns/resolv-conf.ts";

export type Resolution =
  | { readonly ok: true; readonly name: string; readonly addresses: readonly string[] }
  | { readonly ok: false; readonly code: "NXDOMAIN" | "NODATA" | "ETIMEDOUT" | "SERVFAIL"; readonly asked: string };

const TRY = 5_000;
const TRIES = 2;

/** The A records of a name. */
export function resolve(ns: NetNs, name: string, conf: ResolvConf): Resolution {
  const server = parseIpv4(conf.nameservers[0] ?? "");
  if (server === undefined) return { ok: false, code: "SERVFAIL", asked: name };
  let failed: Resolution = { ok: false, code: "NXDOMAIN", asked: name };
  for (const candidate of searchNames(name, conf)) {
    const answer = ask(ns, server, candidate);
    if (answer.ok || answer.code === "ETIMEDOUT") return answer;
    if (answer.code === "NODATA" || failed.code === "NXDOMAIN") failed = answer;
  }
  return failed;
}

function ask(ns: NetNs, server: Ipv4Addr, name: string): Resolution {
  const id = ns.random.int(0x10000);
  let answer: Resolution | null = null;
  const socket = UdpSocket.bind(ns, ANY, 0, {
    datagram(_s, bytes, off, len) {
      const packet = decode(Buffer.from(bytes.slice(off, off + len)));
      if (packet.id !== id) return;
      const rcode = (packet as { rcode?: string }).rcode ?? "NOERROR";
      const addresses = (packet.answers ?? []).flatMap((a) => (a.type === "A" ? [a.data] : []));
      if (addresses.length > 0) answer = { ok: true, name, addresses };
      else if (rcode === "NXDOMAIN") answer = { ok: false, code: "NXDOMAIN", asked: name };
      else answer = { ok: false, code: rcode === "NOERROR" ? "NODATA" : "SERVFAIL", asked: name };
    },
  });
  if (socket === null) return { ok: false, code: "SERVFAIL", asked: name };
  const query = encode({ type: "query", id, flags: 0x100, questions: [{ type: "A", name }] });
  const { loop } = ns.world;
  for (let i = 0; i < TRIES && answer === null; i++) {
    if (!socket.send(server, 53, query, 0, query.length)) break;
    loop.run({ done: () => answer !== null, deadline: loop.time + TRY });
  }
  socket.close();
  return answer ?? { ok: false, code: "ETIMEDOUT", asked: `${name} of ${formatIpv4(server)}` };
}

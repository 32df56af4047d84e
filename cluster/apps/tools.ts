/** The network tools of `podwire exec`: ping, curl, wget and nslookup, as a pod's user knows their output. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { PingSocket } from "../../dataplane/sock/ping.ts";
import * as icmpv6 from "../../dataplane/wire/icmpv6.ts";
import { formatIp, type IpKey, isKey6, parseIp } from "../../dataplane/wire/ip-key.ts";
import { type Family, parseIp as parseApiIp } from "../api/ip.ts";
import type { ResolvConf } from "../dns/resolv-conf.ts";
import { reverseName } from "../dns/zone.ts";
import { familiesHere, type Resolution, resolve, resolveReverse } from "./dns-client.ts";
import { fetchHttp, type HttpOutcome } from "./http-client.ts";

export type ToolResult = { readonly stdout: string; readonly stderr: string; readonly exitCode: number };

/** The tools by name, for messages. */
export const TOOLS: readonly string[] = ["curl", "nslookup", "ping", "wget"];

/** Runs a tool in a namespace. An unknown one answers 127, as a shell does. */
export function runTool(ns: NetNs, argv: readonly string[], conf: ResolvConf): ToolResult {
  const [name = "", ...args] = argv;
  switch (name.replace(/^.*\//, "")) {
    case "ping":
      return ping(ns, args, conf);
    case "curl":
      return curl(ns, args, conf);
    case "wget":
      return wget(ns, args, conf);
    case "nslookup":
      return nslookup(ns, args, conf);
    default:
      return { stdout: "", stderr: `podwire: ${name}: not emulated; there are ${TOOLS.join(", ")}\n`, exitCode: 127 };
  }
}

/** Why there is none: an address of the family that the options -4 and -6 leave out, or what the nameserver said. */
type NoAddress = "FAMILY" | Exclude<Resolution, { ok: true }>["code"];

/** The addresses to talk to, the best first: of the families that the options -4 and -6 leave. */
function addressesOf(ns: NetNs, host: string, conf: ResolvConf, { values }: Parsed): readonly IpKey[] | NoAddress {
  const families: readonly Family[] = values.has("-4") ? [4] : values.has("-6") ? [6] : familiesHere(ns);
  const literal = parseIp(host);
  if (literal !== undefined) return values.has(isKey6(literal) ? "-4" : "-6") ? "FAMILY" : [literal];
  const found = resolve(ns, host, conf, families);
  return found.ok ? found.addresses.flatMap((text) => parseIp(text) ?? []) : found.code;
}

/** As gai_strerror says it. */
const NO_ADDRESS: Readonly<Record<NoAddress, string>> = {
  FAMILY: "Address family for hostname not supported",
  NODATA: "No address associated with hostname",
  NXDOMAIN: "Name or service not known",
  SERVFAIL: "Temporary failure in name resolution",
  ETIMEDOUT: "Temporary failure in name resolution",
};

/** From the first address that lets us connect; what the last one said where none does. */
function fetchFrom(ns: NetNs, addresses: readonly IpKey[], { port, host, path }: Url): HttpOutcome {
  let got: HttpOutcome = { ok: false, error: "EHOSTUNREACH", connected: false };
  for (const address of addresses) {
    got = fetchHttp(ns, address, port, host, path);
    if (got.ok || got.connected) break;
  }
  return got;
}

type Parsed = {
  readonly rest: readonly string[];
  readonly values: ReadonlyMap<string, string>;
  readonly bad: string | null;
};

/** Splits options from the rest: those in `valued` take the next word, those in `flags` none. */
function parse(args: readonly string[], valued: readonly string[], flags: readonly string[]): Parsed {
  const rest: string[] = [];
  const values = new Map<string, string>();
  for (let i = 0; i < args.length; i++) {
    const word = args[i] as string;
    if (!word.startsWith("-") || word === "-") rest.push(word);
    else if (flags.includes(word)) values.set(word, "");
    else if (valued.includes(word) && i + 1 < args.length) values.set(word, args[++i] as string);
    else return { rest, values, bad: word };
  }
  return { rest, values, bad: null };
}

function usage(tool: string, text: string): ToolResult {
  return { stdout: "", stderr: `${tool}: ${text}\n`, exitCode: 2 };
}

function ping(ns: NetNs, args: readonly string[], conf: ResolvConf): ToolResult {
  const parsed = parse(args, ["-c", "-s", "-t", "-W", "-i"], ["-n", "-q", "-4", "-6"]);
  const { rest, values, bad } = parsed;
  const host = rest[0];
  if (bad !== null || host === undefined)
    return usage("ping", bad === null ? "no destination" : `unknown option ${bad}`);
  const addresses = addressesOf(ns, host, conf, parsed);
  const target = addresses[0];
  if (typeof addresses === "string" || typeof target !== "number") {
    const why = NO_ADDRESS[typeof addresses === "string" ? addresses : "NODATA"];
    return { stdout: "", stderr: `ping: ${host}: ${why}\n`, exitCode: 2 };
  }
  const count = Math.max(1, Math.min(1000, Number(values.get("-c") ?? 4)));
  const size = Math.max(0, Math.min(65507, Number(values.get("-s") ?? 56)));
  const ttl = Number(values.get("-t") ?? 64);
  const six = isKey6(target);
  const address = formatIp(target);
  const lines = [
    six
      ? `PING ${host}(${address}) ${size} data bytes`
      : `PING ${host} (${address}) ${size}(${size + 28}) bytes of data.`,
  ];
  const { loop } = ns.world;
  let received = 0;
  for (let seq = 1; seq <= count; seq++) {
    const sentAt = loop.time;
    let done = false;
    const socket = new PingSocket(ns, target, {
      reply(n, from, hops, _b, _off, len) {
        done = true;
        received++;
        const time = (loop.time - sentAt).toFixed(3);
        lines.push(`${len + 8} bytes from ${formatIp(from)}: icmp_seq=${n} ttl=${hops} time=${time} ms`);
      },
      error(type, code, from, info) {
        done = true;
        lines.push(`From ${formatIp(from)} icmp_seq=${seq} ${(six ? icmp6Text : icmpText)(type, code, info)}`);
      },
    });
    const data = Uint8Array.from({ length: size }, (_, i) => i & 0xff);
    if (!socket.send(target, seq, data, { ttl })) {
      socket.close();
      return { stdout: `${lines.join("\n")}\n`, stderr: "ping: connect: Network is unreachable\n", exitCode: 2 };
    }
    loop.run({ done: () => done, deadline: sentAt + 1000 });
    loop.runNow();
    socket.close();
    if (seq < count) loop.run({ deadline: sentAt + 1000 });
  }
  const loss = Math.round(((count - received) / count) * 100);
  lines.push("", `--- ${host} ping statistics ---`);
  lines.push(`${count} packets transmitted, ${received} received, ${loss}% packet loss`);
  return { stdout: `${lines.join("\n")}\n`, stderr: "", exitCode: received > 0 ? 0 : 1 };
}

function icmpText(type: number, code: number, info: number): string {
  if (type === 11) return "Time to live exceeded";
  const texts: Readonly<Record<number, string>> = {
    0: "Destination Net Unreachable",
    1: "Destination Host Unreachable",
    2: "Destination Protocol Unreachable",
    3: "Destination Port Unreachable",
    4: `Frag needed and DF set (mtu = ${info})`,
    13: "Packet filtered",
  };
  return type === 3 ? (texts[code] ?? `Destination Unreachable, code ${code}`) : `ICMP type ${type}, code ${code}`;
}

/** As ping -6 of iputils says it. */
function icmp6Text(type: number, code: number, info: number): string {
  if (type === icmpv6.TIME_EXCEED) return "Time exceeded: Hop limit";
  if (type === icmpv6.PKT_TOOBIG) return `Packet too big: mtu=${info}`;
  const texts: Readonly<Record<number, string>> = {
    [icmpv6.NOROUTE]: "No route",
    [icmpv6.ADM_PROHIBITED]: "Administratively prohibited",
    [icmpv6.NOT_NEIGHBOUR]: "Beyond scope of source address",
    [icmpv6.ADDR_UNREACH]: "Address unreachable",
    [icmpv6.PORT_UNREACH]: "Port unreachable",
  };
  if (type === icmpv6.DEST_UNREACH) return `Destination unreachable: ${texts[code] ?? `Unknown code ${code}`}`;
  return `ICMPv6 type ${type}, code ${code}`;
}

type Url = { readonly host: string; readonly port: number; readonly path: string };

function parseUrl(text: string): Url | null {
  const match = /^(?:http:\/\/)?(\[[0-9a-f:.]+\]|[^/:?#[\]]+)(?::([0-9]+))?([/?][^#]*)?$/i.exec(text);
  if (match === null) return null;
  const port = match[2] === undefined ? 80 : Number(match[2]);
  return port < 1 || port > 65535 ? null : { host: match[1] as string, port, path: match[3] ?? "/" };
}

function curl(ns: NetNs, args: readonly string[], conf: ResolvConf): ToolResult {
  const valued = ["-m", "--max-time", "--connect-timeout", "-o"];
  const flags = ["-s", "--silent", "-S", "-sS", "-i", "--include", "-f", "--fail", "-v", "-4", "-6", "-g", "--globoff"];
  const parsed = parse(args, valued, flags);
  const { rest, values, bad } = parsed;
  if (bad !== null) return usage("curl", `option ${bad}: is not emulated`);
  const url = parseUrl(rest[0] ?? "");
  if (url === null)
    return { stdout: "", stderr: "curl: (3) URL rejected: only http://HOST[:PORT][/PATH] is emulated\n", exitCode: 3 };
  const addresses = addressesOf(ns, withoutBrackets(url.host), conf, parsed);
  if (typeof addresses === "string") {
    return { stdout: "", stderr: `curl: (6) Could not resolve host: ${url.host}\n`, exitCode: 6 };
  }
  const got = fetchFrom(ns, addresses, url);
  if (!got.ok) {
    const timeout = got.error === "ETIMEDOUT";
    const text = timeout
      ? `(28) Connection to ${url.host}:${url.port} timed out`
      : `(7) Failed to connect to ${url.host} port ${url.port}: ${got.error}`;
    const reset = got.connected && !timeout;
    const line = reset ? `(56) Recv failure: ${got.error}` : text;
    return { stdout: "", stderr: `curl: ${line}\n`, exitCode: reset ? 56 : timeout ? 28 : 7 };
  }
  if ((values.has("-f") || values.has("--fail")) && got.status >= 400) {
    return { stdout: "", stderr: `curl: (22) The requested URL returned error: ${got.status}\n`, exitCode: 22 };
  }
  const head = values.has("-i") || values.has("--include") ? `${got.headers}\r\n\r\n` : "";
  return { stdout: head + got.body, stderr: "", exitCode: 0 };
}

function wget(ns: NetNs, args: readonly string[], conf: ResolvConf): ToolResult {
  const parsed = parse(args, ["-O", "-T"], ["-q", "-S", "-qO-", "-O-", "-4", "-6"]);
  const { rest, bad } = parsed;
  if (bad !== null) return usage("wget", `option ${bad}: is not emulated`);
  const url = parseUrl(rest.find((word) => word !== "-") ?? "");
  if (url === null) return usage("wget", "only http://HOST[:PORT][/PATH] is emulated");
  const addresses = addressesOf(ns, withoutBrackets(url.host), conf, parsed);
  if (typeof addresses === "string") return { stdout: "", stderr: `wget: bad address '${url.host}'\n`, exitCode: 1 };
  const got = fetchFrom(ns, addresses.slice(0, 1), url);
  if (!got.ok) {
    const text = got.error === "ETIMEDOUT" ? "download timed out" : `can't connect to remote host: ${got.error}`;
    return { stdout: "", stderr: `wget: ${text}\n`, exitCode: 1 };
  }
  if (got.status >= 400)
    return { stdout: "", stderr: `wget: server returned error: HTTP/1.1 ${got.status}\n`, exitCode: 1 };
  return { stdout: got.body, stderr: "", exitCode: 0 };
}

/** "[fd00::1]" → "fd00::1". */
function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function nslookup(ns: NetNs, args: readonly string[], conf: ResolvConf): ToolResult {
  const [name, server] = args;
  if (name === undefined || name.startsWith("-")) return usage("nslookup", "a name is needed");
  const used = server === undefined ? conf : { ...conf, nameservers: [server] };
  const nameserver = used.nameservers[0] ?? "";
  const lines = [`Server:\t\t${nameserver}`, `Address:\t${nameserver}#53`, ""];
  const ip = parseApiIp(name);
  const reverse = ip === null ? null : reverseName(ip);
  const found =
    reverse === null ? resolve(ns, name, used, [...familiesHere(ns)].sort()) : resolveReverse(ns, reverse, used);
  if (!found.ok) {
    const text =
      found.code === "ETIMEDOUT"
        ? ";; connection timed out; no servers could be reached"
        : `** server can't find ${reverse ?? name}: ${found.code === "NODATA" ? "No answer" : found.code}`;
    return { stdout: `${lines.join("\n")}\n${text}\n`, stderr: "", exitCode: 1 };
  }
  if (reverse !== null)
    return { stdout: found.addresses.map((n) => `${reverse}\tname = ${n}.\n`).join(""), stderr: "", exitCode: 0 };
  for (const address of found.addresses) lines.push(`Name:\t${found.name}`, `Address: ${address}`);
  return { stdout: `${lines.join("\n")}\n`, stderr: "", exitCode: 0 };
}

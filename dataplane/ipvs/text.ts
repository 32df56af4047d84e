/**
 * The text of ipvsadm(8): what `ipvsadm -R` reads and `ipvsadm -Sn` prints, and the operation ipvs.restore, whole or
 * nothing. Commands: -A, -E, -D (services), -a, -e, -d (destinations), -C, --set. Addresses of IPv6 stand in brackets, masks are
 * prefix lengths there, and -6 is for services by mark. Left out: tunnels other than ipip, names of hosts and services, -o, -j
 * and --pe.
 */

import { columnOf } from "../netfilter/rules-error.ts";
import type { NetNs } from "../netns/netns.ts";
import { type IpvsRestore, NetlinkError } from "../netns/rtnl-ops.ts";
import { formatIpPort, isKey6, parseIp } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { IpvsEngine } from "./ipvs.ts";
import { SCHEDULERS, schedulerOf } from "./scheduler/registry.ts";
import { Destination, type ForwardMethod, VirtualService } from "./service.ts";

type Undo = () => void;
const COMMANDS = "AEDaedC";
const PROTOCOLS: Readonly<Record<string, number>> = {
  "-t": ipv4.PROTO_TCP,
  "-u": ipv4.PROTO_UDP,
  "--tcp-service": ipv4.PROTO_TCP,
  "--udp-service": ipv4.PROTO_UDP,
  "--sctp-service": ipv4.PROTO_SCTP,
};
const DEFAULT_TIMEOUT = 300;

/** The namespace's ipvs, where something made one. */
export function ipvsOf(ns: NetNs): IpvsEngine | null {
  return ns.ipvs instanceof IpvsEngine ? ns.ipvs : null;
}

const METHODS: Readonly<Record<string, ForwardMethod>> = { "-g": "route", "-i": "tunnel", "-m": "masq" };

function methodOf(options: ReadonlyMap<string, string>): ForwardMethod {
  if (options.has("-m")) return "masq";
  return options.has("-i") ? "tunnel" : "route";
}

/** The operation ipvs.restore. Answers how to undo it; throws NetlinkError, and nothing is changed then. */
export function ipvsOp(ns: NetNs, op: IpvsRestore): Undo {
  const before = ns.ipvs;
  const engine = ipvsOf(ns) ?? new IpvsEngine(ns);
  const undo: Undo[] = [];
  const touched = new Set<VirtualService>();
  const back = (): void => {
    for (const step of undo.splice(0).reverse()) step();
    for (const service of touched) service.scheduler.changed(service);
    ns.ipvs = before;
  };
  try {
    for (const [i, line] of op.text.split("\n").entries()) {
      const words = line.trim().split(/\s+/);
      if (words[0] === "" || words[0]?.startsWith("#")) continue;
      new Command(engine, words, undo, touched, (reason) => {
        const place = `${op.source ?? "ipvsadm"}:${i + 1}${columnOf(line, reason)}`;
        throw new NetlinkError("EINVAL", `${place}: ${reason}`, op);
      }).run();
    }
  } catch (cause) {
    back();
    throw cause;
  }
  for (const service of touched) service.scheduler.changed(service);
  ns.ipvs = engine;
  return back;
}

class Command {
  readonly #engine: IpvsEngine;
  readonly #words: readonly string[];
  readonly #undo: Undo[];
  readonly #touched: Set<VirtualService>;
  readonly #fail: (reason: string) => never;

  constructor(
    engine: IpvsEngine,
    words: readonly string[],
    undo: Undo[],
    touched: Set<VirtualService>,
    fail: (reason: string) => never,
  ) {
    this.#engine = engine;
    this.#words = words;
    this.#undo = undo;
    this.#touched = touched;
    this.#fail = fail;
  }

  run(): void {
    const command = this.#words[0] ?? "";
    if (command === "--set") {
      this.#set();
      return;
    }
    if (command.length !== 2 || !command.startsWith("-") || !COMMANDS.includes(command[1] ?? " "))
      this.#fail(`command "${command}" is not known`);
    const options = this.#options();
    const { services } = this.#engine;
    if (command === "-C") {
      for (const service of services.all()) this.#delete(service);
      return;
    }
    const key = this.#key(options);
    const service = services.get(key.proto, key.address, key.port, key.fwmark, key.six);
    if (command === "-A") {
      if (service !== null) this.#fail(`service ${key.text} exists already`);
      const made = new VirtualService(
        key.proto,
        key.address,
        key.port,
        key.fwmark,
        schedulerOf("wlc") ?? this.#fail("no scheduler wlc"),
        this.#engine.ns.random.fork(`ipvs ${key.text}`),
        key.six,
      );
      this.#edit(made, options);
      services.add(made);
      this.#touched.add(made);
      this.#undo.push(() => services.delete(made));
      return;
    }
    if (service === null) {
      this.#fail(`service ${key.text} does not exist`);
      return;
    }
    this.#touched.add(service);
    if (command === "-E") this.#edit(service, options);
    else if (command === "-D") this.#delete(service);
    else this.#destination(command, service, options, key.text);
  }

  #options(): Map<string, string> {
    const found = new Map<string, string>();
    for (let i = 1; i < this.#words.length; i++) {
      const word = this.#words[i] ?? "";
      if (word in METHODS || word === "-6") found.set(word, "");
      else if (word in PROTOCOLS || ["-f", "-s", "-p", "-M", "-b", "-r", "-w", "-x", "-y"].includes(word)) {
        const value = this.#words[i + 1];
        if (word === "-p" && (value === undefined || value.startsWith("-"))) {
          found.set(word, String(DEFAULT_TIMEOUT));
          continue;
        }
        if (value === undefined) this.#fail(`option ${word}: no value`);
        found.set(word, value ?? "");
        i++;
      } else this.#fail(`option "${word}" is not known`);
    }
    return found;
  }

  #key(options: ReadonlyMap<string, string>): {
    proto: number;
    address: number;
    port: number;
    fwmark: number;
    six: boolean;
    text: string;
  } {
    const mark = options.get("-f");
    if (mark !== undefined) {
      const six = options.has("-6");
      const fwmark = this.#number("-f", mark, 1, 0xffffffff);
      return { proto: 0, address: 0, port: 0, fwmark, six, text: `-f ${mark}${six ? " -6" : ""}` };
    }
    if (options.has("-6")) this.#fail("option -6 goes with -f");
    for (const [option, proto] of Object.entries(PROTOCOLS)) {
      const text = options.get(option);
      if (text === undefined) continue;
      const { address, port } = this.#address(option, text);
      return { proto, address, port: port ?? 0, fwmark: 0, six: isKey6(address), text: `${option} ${text}` };
    }
    return this.#fail("no service: expected -t, -u, --sctp-service or -f");
  }

  #address(option: string, text: string): Endpoint {
    const found = parseEndpoint(text) ?? this.#fail(`option ${option}: "${text}" is not an address and port`);
    if (found.port !== null) this.#number(option, String(found.port), 0, 0xffff);
    return found;
  }

  #number(option: string, text: string, min: number, max: number): number {
    const n = Number(text);
    return /^[0-9]+$/.test(text) && n >= min && n <= max
      ? n
      : this.#fail(`option ${option}: "${text}" is not a number from ${min} to ${max}`);
  }

  #edit(service: VirtualService, options: ReadonlyMap<string, string>): void {
    const { scheduler, timeout, netmask, prefixLen, fallback, hashPort } = service;
    const name = options.get("-s") ?? "wlc";
    if (name !== scheduler.name)
      service.scheduler =
        schedulerOf(name) ?? this.#fail(`option -s: scheduler "${name}" is not one of ${SCHEDULERS.join(", ")}`);
    const persistence = options.get("-p");
    service.timeout = persistence === undefined ? 0 : this.#number("-p", persistence, 1, 31 * 86400);
    const mask = options.get("-M");
    if (service.six) service.prefixLen = mask === undefined ? 128 : this.#number("-M", mask, 1, 128);
    else
      service.netmask =
        mask === undefined ? -1 : (parseIpv4(mask) ?? this.#fail(`option -M: "${mask}" is not a netmask`)) | 0;
    const flags = options.get("-b")?.split(",") ?? [];
    for (const flag of flags)
      if (!/^(sh|mh)-(fallback|port)$/.test(flag)) this.#fail(`option -b: flag "${flag}" is not known`);
    service.fallback = flags.some((f) => f.endsWith("-fallback"));
    service.hashPort = flags.some((f) => f.endsWith("-port"));
    this.#undo.push(() => Object.assign(service, { scheduler, timeout, netmask, prefixLen, fallback, hashPort }));
  }

  #delete(service: VirtualService): void {
    const { services } = this.#engine;
    services.delete(service);
    const reachable = service.destinations.filter((d) => d.available);
    for (const d of reachable) d.available = false;
    this.#undo.push(() => {
      services.add(service);
      for (const d of reachable) d.available = true;
    });
  }

  #destination(command: string, service: VirtualService, options: ReadonlyMap<string, string>, name: string): void {
    const text = options.get("-r") ?? this.#fail("no destination: expected -r");
    const given = this.#address("-r", text);
    if (isKey6(given.address) !== service.six)
      this.#fail(`option -r: "${text}" is not of ${service.six ? "IPv6" : "IPv4"}, as the service is`);
    const method = methodOf(options);
    // Direct routing and tunnels keep the port; who changes or deletes need not say how packets are forwarded.
    const keeps = command === "-a" && method !== "masq";
    const port = keeps || given.port === null ? service.port : given.port;
    const list = service.destinations;
    const at = list.findIndex((d) => d.address === given.address && d.port === port);
    const known = list[at];
    if (command === "-a") {
      if (known !== undefined) this.#fail(`service ${name}: destination ${text} exists already`);
      const made = new Destination(given.address, port, method, 1);
      this.#weigh(made, options);
      list.push(made);
      this.#undo.push(() => list.splice(list.indexOf(made), 1));
      return;
    }
    if (known === undefined) {
      this.#fail(`service ${name}: destination ${text} does not exist`);
      return;
    }
    if (command === "-e") {
      this.#weigh(known, options);
      return;
    }
    list.splice(at, 1);
    known.available = false;
    this.#undo.push(() => {
      list.splice(at, 0, known);
      known.available = true;
    });
  }

  #weigh(d: Destination, options: ReadonlyMap<string, string>): void {
    const { weight, upper, lower, method } = d;
    const number = (option: string, otherwise: number): number => {
      const text = options.get(option);
      return text === undefined ? otherwise : this.#number(option, text, 0, 65535);
    };
    d.weight = number("-w", 1);
    d.upper = number("-x", 0);
    d.lower = number("-y", 0);
    d.method = methodOf(options);
    d.recount();
    this.#undo.push(() => {
      Object.assign(d, { weight, upper, lower, method });
      d.recount();
    });
  }

  /** `--set tcp tcpfin udp`, in seconds; 0 leaves one as it is. */
  #set(): void {
    const { timeouts } = this.#engine;
    const words = this.#words.slice(1);
    if (words.length !== 3) this.#fail("option --set: expected three timeouts");
    const [tcp = 0, fin = 0, udp = 0] = words.map((w) => this.#number("--set", w, 0, 31 * 86400) * 1000);
    const old = [timeouts.tcp[1] ?? 0, timeouts.tcp[4] ?? 0, timeouts.udp] as const;
    if (tcp > 0) timeouts.tcp[1] = tcp;
    if (fin > 0) timeouts.tcp[4] = fin;
    if (udp > 0) timeouts.udp = udp;
    this.#undo.push(() => {
      timeouts.tcp[1] = old[0];
      timeouts.tcp[4] = old[1];
      timeouts.udp = old[2];
    });
  }
}

/** A namespace's services as `ipvsadm -Sn` prints them; "" where there are none. */
export function saveIpvs(ns: NetNs): string {
  return (ipvsOf(ns)?.services.all() ?? []).map(formatService).join("");
}

function maskText(s: VirtualService): string {
  if (s.six) return s.prefixLen === 128 ? "" : ` -M ${s.prefixLen}`;
  return s.netmask === -1 ? "" : ` -M ${formatIpv4(s.netmask)}`;
}

/** As in `service.ts`; the port is null where there is none. */
type Endpoint = { readonly address: number; readonly port: number | null };

/** "10.0.0.1:80" or "[fd00::1]:80". Undefined for what is neither. */
function parseEndpoint(text: string): Endpoint | undefined {
  const [, six, four, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]+))?$/.exec(text) ?? [];
  const address = six === undefined ? parseIpv4(four ?? "") : parseIp(six);
  const port = digits === undefined ? null : Number(digits);
  if (address === undefined || (six !== undefined && !isKey6(address))) return undefined;
  return { address: address | 0, port };
}

function formatService(s: VirtualService): string {
  const option = s.proto === ipv4.PROTO_TCP ? "-t" : s.proto === ipv4.PROTO_UDP ? "-u" : "--sctp-service";
  const key = s.fwmark === 0 ? `${option} ${formatIpPort(s.address, s.port)}` : `-f ${s.fwmark}${s.six ? " -6" : ""}`;
  const flag = s.scheduler.name === "mh" ? "mh" : "sh";
  const flags = [...(s.fallback ? [`${flag}-fallback`] : []), ...(s.hashPort ? [`${flag}-port`] : [])];
  const head =
    `-A ${key} -s ${s.scheduler.name}` +
    (s.timeout === 0 ? "" : ` -p ${s.timeout}`) +
    (s.timeout === 0 ? "" : maskText(s)) +
    (flags.length === 0 ? "" : ` -b ${flags.join(",")}`);
  const rest = s.destinations.map((d) => {
    const limits = `${d.upper === 0 ? "" : ` -x ${d.upper}`}${d.lower === 0 ? "" : ` -y ${d.lower}`}`;
    return `-a ${key} -r ${formatIpPort(d.address, d.port)} ${Object.keys(METHODS).find((o) => METHODS[o] === d.method)} -w ${d.weight}${limits}`;
  });
  return `${[head, ...rest].join("\n")}\n`;
}

/** Connections of a destination, as the texts name it and its service ("-t 10.96.0.1:80", "10.244.0.2:80"). */
export function connectionsOf(ns: NetNs, service: string, destination: string): number {
  const engine = ipvsOf(ns);
  const [option = "", where = ""] = service.split(" ");
  const [vip, real] = [parseEndpoint(where), parseEndpoint(destination)];
  if (vip === undefined || real === undefined) return 0;
  const virtual = engine?.services.get(PROTOCOLS[option] ?? 0, vip.address, vip.port ?? 0, 0);
  engine?.settle();
  const found = virtual?.destinations.find((d) => d.address === real.address && d.port === (real.port ?? 0));
  return found === undefined ? 0 : found.active + found.inactive;
}

/** `-m ipvs` (xt_ipvs.c): whether ipvs had the packet, and of a packet to a real server, for which service. */
import type { ForwardMethod } from "../../ipvs/service.ts";
import { formatMasked, formatNetwork6, holds6, type Network6, parseAddress, parseNetwork6 } from "../address.ts";
import { IP_CT_ESTABLISHED_REPLY } from "../conntrack-entry.ts";
import { opt } from "../options.ts";
import { parseProtocol } from "../services.ts";
import type { MatchModule } from "./module.ts";

type Asked<T> = { readonly value: T; readonly not: boolean } | null;
type Address = { readonly addr: number; readonly mask: number; readonly six: Network6 | null };

export type IpvsMatch = {
  readonly kind: "ipvs";
  /** What is asked where nothing else is: whether ipvs had the packet. */
  readonly ipvs: Asked<true>;
  readonly proto: Asked<number>;
  readonly address: Asked<Address>;
  readonly port: Asked<number>;
  readonly dir: "" | "ORIGINAL" | "REPLY";
  readonly method: Asked<ForwardMethod>;
  readonly control: Asked<number>;
};

const METHODS: Readonly<Record<string, ForwardMethod>> = { GATE: "route", IPIP: "tunnel", MASQ: "masq" };

function agrees<T>(asked: Asked<T>, is: (value: T) => boolean): boolean {
  return asked === null || is(asked.value) !== asked.not;
}

function printed<T>(name: string, asked: Asked<T>, text: (value: T) => string | number): string {
  return asked === null ? "" : opt(asked.not, name, text(asked.value));
}

function addressText({ addr, mask, six }: Address): string {
  if (six === null) return formatMasked(addr, mask);
  const text = formatNetwork6(six);
  return six.len === 128 ? text.slice(0, text.indexOf("/")) : text;
}

const NOT = { args: 1, not: true } as const;

export const ipvsMatch: MatchModule<IpvsMatch> = {
  name: "ipvs",
  options: {
    "--ipvs": { args: 0, not: true },
    "--vproto": NOT,
    "--vaddr": NOT,
    "--vport": NOT,
    "--vdir": { args: 1 },
    "--vmethod": NOT,
    "--vportctl": NOT,
  },
  parse(o) {
    const asked = <T>(name: string, read: (text: string) => T | undefined): Asked<T> => {
      const text = o.text(name);
      if (text === undefined) return null;
      const value = read(text) ?? o.fail(`option ${name}: "${text}" is not what it takes`);
      return { value, not: o.not(name) };
    };
    const given = ["--ipvs", "--vproto", "--vaddr", "--vport", "--vdir", "--vmethod", "--vportctl"];
    if (!given.some((name) => o.has(name))) o.fail(`one of ${given.join(", ")} is required`);
    const dir = o.text("--vdir")?.toUpperCase() ?? "";
    if (dir !== "" && dir !== "ORIGINAL" && dir !== "REPLY")
      return o.fail(`option --vdir: "${dir}" is not a direction`);
    return {
      kind: "ipvs",
      ipvs: o.has("--ipvs") ? { value: true, not: o.not("--ipvs") } : null,
      proto: asked("--vproto", parseProtocol),
      address: asked("--vaddr", (text): Address | undefined => {
        const six = o.six ? parseNetwork6(text) : undefined;
        if (six !== undefined) return { addr: 0, mask: 0, six };
        const four = o.six ? undefined : parseAddress(text);
        return four === undefined ? undefined : { ...four, six: null };
      }),
      port: asked("--vport", (text) => o.port("--vport", text)),
      dir,
      method: asked("--vmethod", (text) => METHODS[text.toUpperCase()]),
      control: asked("--vportctl", (text) => o.port("--vportctl", text)),
    };
  },
  print(m) {
    const others = [m.proto, m.address, m.port, m.method, m.control].some((a) => a !== null) || m.dir !== "";
    return (
      (m.ipvs === null || others ? "" : `${m.ipvs.not ? " !" : ""} --ipvs`) +
      printed("--vproto", m.proto, (n) => n) +
      printed("--vaddr", m.address, addressText) +
      printed("--vport", m.port, (n) => n) +
      (m.dir === "" ? "" : ` --vdir ${m.dir}`) +
      printed("--vmethod", m.method, (name) => Object.keys(METHODS).find((k) => METHODS[k] === name) ?? "") +
      printed("--vportctl", m.control, (n) => n)
    );
  },
  test(m, p) {
    const { skb } = p;
    const alone = m.proto === null && m.address === null && m.port === null && m.method === null && m.control === null;
    if (alone && m.dir === "") return skb.ipvs !== (m.ipvs?.not ?? false);
    if (!skb.ipvs || !agrees(m.proto, (n) => n === p.proto)) return false;
    const flow = p.ns.ipvs?.flowOf(skb) ?? null;
    if (flow === null) return false;
    if (m.dir !== "" && (p.conn === null || skb.ctInfo >= IP_CT_ESTABLISHED_REPLY !== (m.dir === "REPLY")))
      return false;
    return (
      agrees(m.port, (n) => n === flow.virtualPort) &&
      agrees(m.control, (n) => n === flow.controlPort) &&
      agrees(m.method, (name) => name === flow.method) &&
      agrees(m.address, (a) =>
        a.six === null ? ((flow.virtual ^ a.addr) & a.mask) === 0 : holds6(a.six, flow.virtual),
      )
    );
  },
};

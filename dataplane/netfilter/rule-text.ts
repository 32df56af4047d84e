/** One rule: from the words of its line, and back as iptables-save (nf_tables variant, 1.8) prints it. */
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import { formatAddress, formatNetwork6, type Network6, parseAddress, parseNetwork6 } from "./address.ts";
import { type Match, matchModule, printMatch } from "./match/registry.ts";
import { parseMatch } from "./match-cache.ts";
import { OptionError, type OptionSpecs, Options } from "./options.ts";
import { INV_DST, INV_FRAG, INV_IN, INV_OUT, INV_PROTO, INV_SRC, type IpSpec, Rule } from "./rules.ts";
import { parseProtocol, protocolText } from "./services.ts";
import type { ExtensionTarget, Target } from "./target/registry.ts";
import { printTarget, targetModule, targetTracks } from "./target/registry.ts";
import { verdictOf } from "./target/standard.ts";

/** The longest name of an interface, and of a chain. */
const IFNAME_MAX = 15;
export const CHAIN_MAX = 28;

type Loaded = {
  readonly options: Options;
  readonly specs: OptionSpecs;
  readonly match: ReturnType<typeof matchModule> | null;
};

const BASE: Readonly<Record<string, string>> = {
  "-p": "-p",
  "--protocol": "-p",
  "--proto": "-p",
  "-s": "-s",
  "--source": "-s",
  "--src": "-s",
  "-d": "-d",
  "--destination": "-d",
  "--dst": "-d",
  "-i": "-i",
  "--in-interface": "-i",
  "-o": "-o",
  "--out-interface": "-o",
  "-f": "-f",
  "--fragment": "-f",
  "--fragments": "-f",
  "-m": "-m",
  "--match": "-m",
  "-j": "-j",
  "--jump": "-j",
  "-g": "-g",
  "--goto": "-g",
  "-c": "-c",
  "--set-counters": "-c",
  "-4": "-4",
  "--ipv4": "-4",
  "-6": "-6",
  "--ipv6": "-6",
};

/** Modules that options without `-m` belong to, by protocol. */
function implied(proto: number): string {
  return proto === 0 ? "" : proto === PROTO_ICMPV6 ? "icmp6" : protocolText(proto);
}

/** Words of a line: blanks separate, `"` quotes, `\` takes the next character as it is inside quotes. */
export function words(line: string): string[] {
  if (!line.includes('"')) return line.split(/[ \t]+/).filter((w) => w !== "");
  const out: string[] = [];
  let word = "";
  let open = false;
  let any = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i] as string;
    if (open) {
      if (c === "\\" && i + 1 < line.length) word += line[++i];
      else if (c === '"') open = false;
      else word += c;
    } else if (c === '"') {
      open = true;
      any = true;
    } else if (c === " " || c === "\t") {
      if (any) out.push(word);
      word = "";
      any = false;
    } else {
      word += c;
      any = true;
    }
  }
  if (open) throw new OptionError("", "a quote is not closed");
  if (any) out.push(word);
  return out;
}

class Reader {
  readonly #tokens: readonly string[];
  readonly #six: boolean;
  #at = 0;
  readonly #loaded: Loaded[] = [];
  #target: { name: string; goto: boolean; options: Options | null } | null = null;
  readonly #given: Set<string> = new Set();
  #proto = 0;
  #invert = 0;
  #input = "";
  #output = "";
  #fragment = false;
  #sources: string[] = [];
  #destinations: string[] = [];
  #implied = false;

  constructor(tokens: readonly string[], six: boolean) {
    this.#tokens = tokens;
    this.#six = six;
  }

  read(): Rule[] {
    while (this.#at < this.#tokens.length) {
      let token = this.#tokens[this.#at++] as string;
      let not = false;
      if (token === "!") {
        not = true;
        token = this.#next("!");
      }
      const equals = token.startsWith("--") ? token.indexOf("=") : -1;
      if (equals > 0) {
        this.#at--;
        (this.#tokens as string[]).splice(this.#at, 1, token.slice(equals + 1));
        token = token.slice(0, equals);
      }
      if (!token.startsWith("-")) throw new OptionError("", `"${token}" is not an option`);
      this.#option(token, not);
    }
    return this.#finish();
  }

  #next(option: string): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new OptionError("", `option ${option} needs an argument`);
    return token;
  }

  #option(token: string, not: boolean): void {
    for (let i = this.#loaded.length - 1; i >= 0; i--) {
      const l = this.#loaded[i] as Loaded;
      if (this.#take(l, token, not)) return;
    }
    if (Object.hasOwn(BASE, token)) {
      this.#base(BASE[token] as string, not);
      return;
    }
    const name = this.#implied ? "" : implied(this.#proto);
    const module = name === "" || (this.#invert & INV_PROTO) !== 0 ? undefined : matchModule(name);
    if (module !== undefined && !this.#loaded.some((l) => l.match === module)) {
      this.#implied = true;
      const loaded = { options: new Options(name), specs: module.options, match: module };
      if (this.#take(loaded, token, not)) {
        this.#loaded.push(loaded);
        return;
      }
    }
    throw new OptionError("", `unknown option ${token}`, { unknown: true });
  }

  #take(l: Loaded, token: string, not: boolean): boolean {
    if (!Object.hasOwn(l.specs, token)) return false;
    const spec = l.specs[token];
    if (spec === undefined) return false;
    if (not && spec.not !== true) l.options.fail(`option ${token} cannot be negated`);
    const values: string[] = [];
    for (let i = 0; i < spec.args; i++) values.push(this.#next(token));
    l.options.add(spec.as ?? token, values, not);
    return true;
  }

  #base(option: string, not: boolean): void {
    if (option !== "-m" && option !== "-4" && option !== "-6") {
      const key = option === "-g" ? "-j" : option;
      if (this.#given.has(key)) throw new OptionError("", `option ${option} is given twice`);
      this.#given.add(key);
    }
    if (not && (option === "-m" || option === "-j" || option === "-g" || option === "-c" || option === "-4")) {
      throw new OptionError("", `option ${option} cannot be negated`);
    }
    switch (option) {
      case "-p": {
        const text = this.#next(option);
        const proto = parseProtocol(text);
        if (proto === undefined) throw new OptionError("", `option -p: "${text}" is not a protocol`);
        if (proto === 0 && not) throw new OptionError("", "option -p: no packet has no protocol");
        this.#proto = proto;
        if (not) this.#invert |= INV_PROTO;
        return;
      }
      case "-s":
        this.#sources = this.#next(option).split(",");
        if (not) this.#invert |= INV_SRC;
        return;
      case "-d":
        this.#destinations = this.#next(option).split(",");
        if (not) this.#invert |= INV_DST;
        return;
      case "-i":
        this.#input = this.#iface(option);
        if (not) this.#invert |= INV_IN;
        return;
      case "-o":
        this.#output = this.#iface(option);
        if (not) this.#invert |= INV_OUT;
        return;
      case "-f":
        this.#fragment = true;
        if (not) this.#invert |= INV_FRAG;
        return;
      case "-m": {
        const name = this.#next(option);
        const module = matchModule(name);
        if (module === undefined) throw new OptionError("", `match "${name}" is not known`, { unknown: true });
        this.#loaded.push({ options: new Options(name), specs: module.options, match: module });
        return;
      }
      case "-j":
      case "-g": {
        const name = this.#next(option);
        const module = option === "-g" ? undefined : targetModule(name);
        const options = module === undefined ? null : new Options(name);
        this.#target = { name, goto: option === "-g", options };
        if (module !== undefined && options !== null) {
          this.#loaded.push({ options, specs: module.options, match: null });
        }
        return;
      }
      case "-c":
        this.#next(option);
        this.#next(option);
        return;
    }
  }

  #iface(option: string): string {
    const name = this.#next(option);
    if (name === "" || name.length > IFNAME_MAX)
      throw new OptionError("", `option ${option}: "${name}" is not an interface name`);
    return name;
  }

  #finish(): Rule[] {
    const proto = (this.#invert & INV_PROTO) === 0 ? this.#proto : 0;
    const matches: Match[] = [];
    let tracks = false;
    for (const l of this.#loaded) {
      l.options.proto = proto;
      l.options.six = this.#six;
      if (l.match === null || l.match === undefined) continue;
      matches.push(parseMatch(l.match, l.options));
      if (l.match.tracks === true) tracks = true;
    }
    let target: Target | null = null;
    if (this.#target !== null) {
      const { name, goto, options } = this.#target;
      const module = options === null ? undefined : targetModule(name);
      if (module !== undefined && options !== null) {
        target = module.parse(options) as ExtensionTarget;
        if (targetTracks(target)) tracks = true;
      } else {
        target = goto ? { kind: "jump", chain: name, goto } : verdictOf(name);
      }
    }
    const rules: Rule[] = [];
    const base = { proto: this.#proto, input: this.#input, output: this.#output, fragment: this.#fragment };
    for (const ip of this.#six ? this.#ends6() : this.#ends4())
      rules.push(new Rule({ ...base, ...ip }, matches, target, tracks, printRule));
    return rules;
  }

  /** Each pair of the addresses that the line lists. */
  #ends4(): Pick<IpSpec, "src" | "srcMask" | "dst" | "dstMask" | "invert">[] {
    const sources = addresses("-s", this.#sources, (this.#invert & INV_SRC) !== 0);
    const destinations = addresses("-d", this.#destinations, (this.#invert & INV_DST) !== 0);
    const invert = this.#invert;
    return sources.flatMap((s) =>
      destinations.map((d) => ({ src: s.addr, srcMask: s.mask, dst: d.addr, dstMask: d.mask, invert })),
    );
  }

  /** A whole address is asked as one of IPv4 is; a network is asked bit by bit. */
  #ends6(): Pick<IpSpec, "src" | "srcMask" | "dst" | "dstMask" | "invert" | "six">[] {
    const not = (bit: number): boolean => (this.#invert & bit) !== 0;
    const sources = networks6("-s", this.#sources, not(INV_SRC));
    const destinations = networks6("-d", this.#destinations, not(INV_DST));
    return sources.flatMap((s) =>
      destinations.map((d) => {
        const [wideS, wideD] = [s !== null && s.len < 128 ? s : null, d !== null && d.len < 128 ? d : null];
        const invert = this.#invert & ~(wideS === null ? 0 : INV_SRC) & ~(wideD === null ? 0 : INV_DST);
        const six =
          wideS === null && wideD === null
            ? null
            : { src: wideS, notSrc: not(INV_SRC), dst: wideD, notDst: not(INV_DST) };
        const exact = (n: Network6 | null, wide: Network6 | null): number => (n === null || wide !== null ? 0 : n.key);
        const [src, dst] = [exact(s, wideS), exact(d, wideD)];
        return { src, srcMask: src === 0 ? 0 : -1, dst, dstMask: dst === 0 ? 0 : -1, invert, six };
      }),
    );
  }
}

/** One null where there is none. */
function networks6(option: string, texts: readonly string[], not: boolean): readonly (Network6 | null)[] {
  if (texts.length === 0) return [null];
  if (not && texts.length > 1) throw new OptionError("", `option ${option}: several addresses cannot be negated`);
  return texts.map((text) => {
    const n = parseNetwork6(text);
    if (n === undefined) throw new OptionError("", `option ${option}: "${text}" is not an IPv6 address or network`);
    return n.len === 0 && !not ? null : n;
  });
}

function addresses(option: string, texts: readonly string[], not: boolean): { addr: number; mask: number }[] {
  if (texts.length === 0) return [{ addr: 0, mask: 0 }];
  if (not && texts.length > 1) throw new OptionError("", `option ${option}: several addresses cannot be negated`);
  return texts.map((text) => {
    const a = parseAddress(text);
    if (a === undefined) throw new OptionError("", `option ${option}: "${text}" is not an IPv4 address or network`);
    return a;
  });
}

/** The rules of one line: one, or one for each pair of the addresses that it lists. Throws OptionError. */
export function parseRule(tokens: readonly string[], six: boolean = false): Rule[] {
  return new Reader([...tokens], six).read();
}

export function printRule(r: Rule): string {
  const out: string[] = [];
  const not = (bit: number): string => ((r.invert & bit) !== 0 ? "! " : "");
  const { six } = r;
  if (six !== null && six.src !== null) out.push(`${six.notSrc ? "! " : ""}-s ${formatNetwork6(six.src)}`);
  else if (r.srcMask !== 0 || (r.invert & INV_SRC) !== 0)
    out.push(`${not(INV_SRC)}-s ${formatAddress(r.src, r.srcMask)}`);
  if (six !== null && six.dst !== null) out.push(`${six.notDst ? "! " : ""}-d ${formatNetwork6(six.dst)}`);
  else if (r.dstMask !== 0 || (r.invert & INV_DST) !== 0)
    out.push(`${not(INV_DST)}-d ${formatAddress(r.dst, r.dstMask)}`);
  if (r.input !== "") out.push(`${not(INV_IN)}-i ${r.input}`);
  if (r.output !== "") out.push(`${not(INV_OUT)}-o ${r.output}`);
  if (r.proto !== 0) out.push(`${not(INV_PROTO)}-p ${protocolText(r.proto)}`);
  if (r.fragment) out.push(`${not(INV_FRAG)}-f`);
  for (const m of r.matches) out.push(printMatch(m));
  if (r.target !== null) out.push(printTarget(r.target));
  return out.join(" ");
}

/**
 * The text of ipset(8): what `ipset restore` reads and `ipset save` prints, and the operation ipset.restore, whole or
 * nothing. Commands: create, add, del, flush, destroy, with -exist, timeout and comment. Left out: swap, rename, and the
 * refusal to destroy a set that a rule uses.
 */
import type { NetNs } from "../netns/netns.ts";
import { type IpsetRestore, NetlinkError } from "../netns/rtnl-ops.ts";
import { type EntryData, IpSet, type IpSets, PLAIN, SET_TYPES, type SetOptions, type SetType } from "./ipset.ts";
import { ensureNetfilter, netfilterOf } from "./restore-op.ts";
import { RulesError } from "./rules-error.ts";

type Undo = () => void;
const DEFAULT_MAXELEM = 65536;
const MAX_NAME = 31;

/** Applies an `ipset restore` text and answers how to undo it. Throws RulesError; the sets are as before then. */
export function restoreSets(sets: IpSets, text: string, source: string, now: number): Undo {
  const undo: Undo[] = [];
  const back = (): void => {
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    for (const [i, line] of text.split("\n").entries()) {
      const words = wordsOf(line);
      if (words.length === 0 || words[0]?.startsWith("#") || words[0] === "COMMIT") continue;
      new Command(sets, words, now, undo, (reason) => {
        throw new RulesError(source, i + 1, "ipset", reason, line);
      }).run();
    }
  } catch (cause) {
    back();
    throw cause;
  }
  return back;
}

/** Words; a quoted one is one word. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? m[2] ?? "");
}

class Command {
  readonly #sets: IpSets;
  readonly #words: string[];
  readonly #now: number;
  readonly #undo: Undo[];
  readonly #fail: (reason: string) => never;
  readonly #exist: boolean;

  constructor(sets: IpSets, words: readonly string[], now: number, undo: Undo[], fail: (reason: string) => never) {
    this.#sets = sets;
    this.#exist = words.some((w) => w === "-exist" || w === "-!" || w === "--exist");
    this.#words = words.filter((w) => w !== "-exist" && w !== "-!" && w !== "--exist");
    this.#now = now;
    this.#undo = undo;
    this.#fail = fail;
  }

  run(): void {
    const [command = "", name = ""] = this.#words;
    switch (command) {
      case "create":
      case "-N":
        this.#create(name);
        return;
      case "add":
      case "-A":
        this.#change(name, true);
        return;
      case "del":
      case "-D":
        this.#change(name, false);
        return;
      case "flush":
      case "-F":
        for (const set of name === "" ? this.#sets.all() : [this.#set(name)]) this.#empty(set);
        return;
      case "destroy":
      case "-X":
        for (const set of name === "" ? this.#sets.all() : [this.#set(name)]) this.#destroy(set);
        return;
      default:
        this.#fail(`command "${command}" is not known`);
    }
  }

  #set(name: string): IpSet {
    return this.#sets.get(name) ?? this.#fail(`set ${name} does not exist`);
  }

  #create(name: string): void {
    const type = this.#words[2] ?? "";
    if (name === "" || name.length > MAX_NAME) this.#fail(`set name "${name}": expected 1 to ${MAX_NAME} characters`);
    if (!SET_TYPES.includes(type as SetType))
      this.#fail(`set ${name}: type "${type}" is not one of ${SET_TYPES.join(", ")}`);
    const options = this.#options(name, type as SetType);
    const known = this.#sets.get(name);
    if (known !== undefined) {
      const same = known.type === type && (known.options.six ?? false) === (options.six ?? false);
      if (!this.#exist || !same) this.#fail(`set ${name} exists already`);
      return;
    }
    this.#sets.put(new IpSet(name, type as SetType, options));
    this.#undo.push(() => this.#sets.delete(name));
  }

  #options(name: string, type: SetType): SetOptions {
    const found = new Map<string, string>();
    for (let i = 3; i < this.#words.length; i++) {
      const word = this.#words[i] ?? "";
      if (word === "comment") found.set(word, "");
      else if (OPTIONS[word] !== undefined) found.set(word, this.#words[++i] ?? this.#fail(`option ${word}: no value`));
      else this.#fail(`option "${word}" is not known`);
    }
    const family = found.get("family") ?? "inet";
    if (family !== "inet" && family !== "inet6") this.#fail(`option family: "${family}" is neither inet nor inet6`);
    const number = (option: string): number | undefined => {
      const text = found.get(option);
      if (text === undefined) return undefined;
      return /^[0-9]+$/.test(text) ? Number(text) : this.#fail(`option ${option}: "${text}" is not a number`);
    };
    const hash = type.startsWith("hash:");
    const range = found.get("range");
    const ports = /^(\d{1,5})-(\d{1,5})$/.exec(range ?? "");
    if (type === "bitmap:port" && (ports === null || Number(ports[2]) > 0xffff || Number(ports[1]) > Number(ports[2])))
      this.#fail(`set ${name}: option range: found ${range ?? "nothing"}, expected ports such as 0-65535`);
    for (const option of found.keys())
      if (option !== "comment" && option !== "timeout" && OPTIONS[option] !== (hash ? "hash" : type))
        this.#fail(`set ${name}: option ${option} does not go with ${type}`);
    const timeout = number("timeout");
    const maxelem = number("maxelem");
    const kept = ["bucketsize", "initval"].flatMap((o) => (found.has(o) ? [`${o} ${found.get(o)}`] : []));
    const tail = [
      ...(timeout === undefined ? [] : [`timeout ${timeout}`]),
      ...(found.has("comment") ? ["comment"] : []),
    ];
    const head = hash
      ? [
          `family ${family}`,
          `hashsize ${number("hashsize") ?? 1024}`,
          `maxelem ${maxelem ?? DEFAULT_MAXELEM}`,
          ...tail,
          ...kept,
        ]
      : [type === "bitmap:port" ? `range ${range}` : `size ${number("size") ?? 8}`, ...tail];
    return {
      text: head.join(" "),
      comment: found.has("comment"),
      maxelem: maxelem ?? DEFAULT_MAXELEM,
      six: family === "inet6",
      ...(timeout === undefined ? {} : { timeout }),
      ...(ports === null ? {} : { from: Number(ports[1]), to: Number(ports[2]) }),
    };
  }

  #change(name: string, on: boolean): void {
    const set = this.#set(name);
    const entry = this.#words[2] ?? "";
    if (set.type === "list:set") {
      this.#member(set, entry, on);
      return;
    }
    const elements = set.parse(entry) ?? this.#fail(`set ${name}: "${entry}" is no entry of a set ${set.type}`);
    const data = this.#data(set);
    for (const e of elements) {
      const found = set.get(e);
      const old = found !== undefined && found.expires !== 0 && found.expires <= this.#now ? undefined : found;
      if (!this.#exist && on === (old !== undefined))
        this.#fail(`set ${name}: entry ${entry} ${on ? "is in it already" : "is not in it"}`);
      if (
        on &&
        found === undefined &&
        set.type !== "bitmap:port" &&
        set.size >= (set.options.maxelem ?? DEFAULT_MAXELEM)
      )
        this.#fail(`set ${name} is full: maxelem ${set.options.maxelem}`);
      set.put(e, on ? data : null);
      this.#undo.push(() => set.put(e, found ?? null));
    }
  }

  #data(set: IpSet): EntryData {
    let comment = "";
    let timeout = set.options.timeout ?? 0;
    for (let i = 3; i < this.#words.length; i += 2) {
      const word = this.#words[i] ?? "";
      const value = this.#words[i + 1] ?? this.#fail(`option ${word}: no value`);
      if (word === "comment" && set.options.comment === true) comment = value;
      else if (word === "timeout" && set.options.timeout !== undefined && /^[0-9]+$/.test(value))
        timeout = Number(value);
      else this.#fail(`set ${set.name}: option ${word} ${value} is not one that its entries take`);
    }
    return comment === "" && timeout === 0
      ? PLAIN
      : { comment, expires: timeout === 0 ? 0 : this.#now + timeout * 1000 };
  }

  #member(list: IpSet, name: string, on: boolean): void {
    const member = this.#set(name);
    if (member.type === "list:set") this.#fail(`set ${list.name}: a list cannot hold the list ${name}`);
    const at = list.members.indexOf(member);
    if (on === at >= 0) {
      if (!this.#exist) this.#fail(`set ${list.name}: ${name} ${on ? "is in it already" : "is not in it"}`);
      return;
    }
    if (on) {
      list.members.push(member);
      member.holders++;
      this.#undo.push(() => {
        list.members.splice(list.members.indexOf(member), 1);
        member.holders--;
      });
    } else {
      list.members.splice(at, 1);
      member.holders--;
      this.#undo.push(() => {
        list.members.splice(at, 0, member);
        member.holders++;
      });
    }
  }

  /** Takes every entry out. */
  #empty(set: IpSet): void {
    if (set.type === "list:set") {
      for (const member of [...set.members]) this.#member(set, member.name, false);
      return;
    }
    const gone = [...set.elements()];
    for (const [e] of gone) set.put(e, null);
    this.#undo.push(() => {
      for (const [e, data] of gone) set.put(e, data);
    });
  }

  #destroy(set: IpSet): void {
    if (set.holders > 0) this.#fail(`set ${set.name} is in use by a list`);
    if (set.type === "list:set") this.#empty(set);
    this.#sets.delete(set.name);
    this.#undo.push(() => this.#sets.put(set));
  }
}

/** Which types each option goes with. */
const OPTIONS: Readonly<Record<string, "hash" | "bitmap:port" | "list:set" | "any">> = {
  family: "hash",
  hashsize: "hash",
  maxelem: "hash",
  bucketsize: "hash",
  initval: "hash",
  range: "bitmap:port",
  size: "list:set",
  timeout: "any",
};

/** As `ipset save` prints sets: each with its entries, lists after what they hold. */
export function formatSets(sets: readonly IpSet[], now: number): string {
  const ordered = [...sets.filter((s) => s.type !== "list:set"), ...sets.filter((s) => s.type === "list:set")];
  return ordered.map((set) => formatSet(set, now)).join("");
}

function formatSet(set: IpSet, now: number): string {
  const fallback =
    set.type === "bitmap:port"
      ? "range 0-65535"
      : set.type === "list:set"
        ? "size 8"
        : `family ${set.options.six === true ? "inet6" : "inet"} hashsize 1024 maxelem 65536`;
  const lines = [`create ${set.name} ${set.type} ${set.options.text ?? fallback}`];
  if (set.type === "list:set") for (const member of set.members) lines.push(`add ${set.name} ${member.name}`);
  for (const [e, data] of set.elements(now)) {
    const left =
      set.options.timeout === undefined
        ? ""
        : ` timeout ${data.expires === 0 ? 0 : Math.ceil((data.expires - now) / 1000)}`;
    lines.push(`add ${set.name} ${set.format(e)}${left}${data.comment === "" ? "" : ` comment "${data.comment}"`}`);
  }
  return `${lines.join("\n")}\n`;
}

/** The operation ipset.restore on a namespace. */
export function ipsetOp(ns: NetNs, op: IpsetRestore): Undo {
  const before = ns.nf;
  const nf = ensureNetfilter(ns);
  try {
    const undo = restoreSets(nf.state.sets, op.text, op.source ?? "ipset-restore", ns.world.loop.time);
    return () => {
      undo();
      ns.nf = before;
    };
  } catch (cause) {
    ns.nf = before;
    if (!(cause instanceof RulesError)) throw cause;
    throw new NetlinkError("EINVAL", cause.message, op, { cause });
  }
}

/** A namespace's sets as `ipset save` prints them. */
export function saveSets(ns: NetNs): string {
  return formatSets(netfilterOf(ns)?.state.sets.all() ?? [], ns.world.loop.time);
}

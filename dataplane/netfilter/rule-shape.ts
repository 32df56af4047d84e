/**
 * Most rules of a large ruleset differ from others only in addresses and in the chain that they lead to. What stands between
 * those is parsed once, and rules of the same shape are made from what it came to:
 *
 *   ! -s 10.244.0.0/16 -d 10.96.0.10/32 │ -p udp -m udp --dport 80 │ -j KUBE-MARK-MASQ
 *
 * Text of another form, or with something wrong in it, is parsed as a whole (`rule-text.ts`), which knows what to say.
 */
import { parseAddress } from "./address.ts";
import { remembers } from "./match/registry.ts";
import { OptionError, Options } from "./options.ts";
import { ownText } from "./own-text.ts";
import { parseRule, words } from "./rule-text.ts";
import { INV_DST, INV_PROTO, INV_SRC, type Rule } from "./rules.ts";
import { type Target, targetModule, targetTracks } from "./target/registry.ts";
import { verdictOf } from "./target/standard.ts";

const LIMIT = 4096;
/** By text: the rule without addresses and target; null where such text is to be parsed as a whole. */
const shapes = new Map<string, Rule | null>();

/** What makes the middle of a line more than a shape: quotes, or the options that the ends are made of. */
const OTHERS = /["\\=\t]|(^| )(-[sdjgc46]|--(source|src|destination|dst|jump|goto|set-counters|ipv4|ipv6))( |$)|!$/;

/** The rules of a line of iptables. Throws OptionError. */
export function readRule(text: string): readonly Rule[] {
  let rules: readonly Rule[] | null = null;
  try {
    rules = fromShape(text);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
  }
  return rules ?? parseRule(words(text));
}

function fromShape(text: string): readonly Rule[] | null {
  let at = 0;
  let invert = 0;
  let src = null;
  let dst = null;
  for (;;) {
    const not = text.startsWith("! ", at);
    const option = not ? at + 2 : at;
    const source = text.startsWith("-s ", option);
    if (!source && !text.startsWith("-d ", option)) break;
    const end = text.indexOf(" ", option + 3);
    if (end < 0) return null;
    const address = parseAddress(text.slice(option + 3, end));
    if (address === undefined || (source ? src : dst) !== null) return null;
    if (source) src = address;
    else dst = address;
    if (not) invert |= source ? INV_SRC : INV_DST;
    at = end + 1;
  }
  const next = text.startsWith("-j ", at);
  const jump = next ? at : text.indexOf(" -j ", at);
  if (jump < 0) return null;
  const shape = shapeOf(text.slice(at, jump));
  if (shape === null) return null;
  const to = text.slice(jump + (next ? 3 : 4)).trimEnd();
  const target = targetOf(to, (shape.invert & INV_PROTO) === 0 ? shape.proto : 0);
  if (target === null) return null;
  const ip = {
    src: src?.addr ?? 0,
    srcMask: src?.mask ?? 0,
    dst: dst?.addr ?? 0,
    dstMask: dst?.mask ?? 0,
    invert: invert | shape.invert,
  };
  return [shape.with(ip, target, targetTracks(target))];
}

/** A chain, a verdict, or a target with one option; null for more. */
function targetOf(text: string, proto: number): Target | null {
  if (text === "" || text.includes('"')) return null;
  const space = text.indexOf(" ");
  const name = space < 0 ? text : text.slice(0, space);
  const module = targetModule(name);
  if (space < 0) return module === undefined ? verdictOf(name) : null;
  const value = text.indexOf(" ", space + 1);
  const option = text.slice(space + 1, value);
  if (value < 0 || text.includes(" ", value + 1) || module?.options[option]?.args !== 1) return null;
  const options = new Options(name);
  options.proto = proto;
  options.add(module.options[option]?.as ?? option, [text.slice(value + 1)], false);
  return module.parse(options);
}

function shapeOf(text: string): Rule | null {
  const known = shapes.get(text);
  if (known !== undefined) return known;
  let shape: Rule | null = null;
  if (!OTHERS.test(text)) {
    try {
      const [rule, more] = parseRule(words(text));
      if (rule !== undefined && more === undefined && !rule.matches.some(remembers)) shape = rule;
    } catch {
      // the whole line is parsed, and what is wrong told of it
    }
  }
  if (shapes.size < LIMIT) shapes.set(ownText(text), shape);
  return shape;
}

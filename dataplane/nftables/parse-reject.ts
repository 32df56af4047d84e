/** The statement reject, behind its first word. */
import { REJECT_TCP_RESET } from "../netfilter/hooks.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import { ICMP_CODES, INET_PROTO } from "./datatype.ts";
import type { Lexer } from "./lexer.ts";
import type { Family, Stmt } from "./model.ts";
import type { Protocols } from "./protocols.ts";

/** Names, the numbers that may stand for them, and the codes of ICMP and of ICMPv6 that they are answered with. */
const REJECT_CODES: Readonly<Record<string, readonly (readonly [string, number, number, number])[]>> = {
  icmp: ICMP_CODES.map(([word, code]) => [word, code, code, 0] as const),
  icmpx: [
    ["port-unreachable", 1, icmpv4.PORT_UNREACH, icmpv6.PORT_UNREACH],
    ["admin-prohibited", 3, icmpv4.PKT_FILTERED, icmpv6.ADM_PROHIBITED],
    ["no-route", 0, icmpv4.NET_UNREACH, icmpv6.NOROUTE],
    ["host-unreachable", 2, icmpv4.HOST_UNREACH, icmpv6.ADDR_UNREACH],
  ],
  icmpv6: [
    ["no-route", 0, 0, icmpv6.NOROUTE],
    ["admin-prohibited", 1, 0, icmpv6.ADM_PROHIBITED],
    ["addr-unreachable", 3, 0, icmpv6.ADDR_UNREACH],
    ["port-unreachable", 4, 0, icmpv6.PORT_UNREACH],
    ["policy-fail", 5, 0, icmpv6.POLICY_FAIL],
    ["reject-route", 6, 0, icmpv6.REJECT_ROUTE],
  ],
};

/** `of`: the family of the table; `protocols`: what the rule's packets are. */
export function parseReject(lex: Lexer, of: Family, protocols: Protocols): Stmt {
  const { transport, version } = protocols;
  if (!lex.acceptWord("with")) {
    const { PORT_UNREACH: code } = icmpv6;
    return { kind: "reject", text: "reject", with: icmpv4.PORT_UNREACH, with6: code, l3: 0, tcp: false };
  }
  const at = lex.start;
  const family = lex.word("icmp, icmpv6, icmpx or tcp");
  if (family === "tcp") {
    lex.expectWord("reset");
    if (transport >= 0 && transport !== PROTO_TCP)
      lex.fail(
        `reject: found "tcp", expected icmp, icmpv6 or icmpx: the packets are ${INET_PROTO.print([transport])}`,
        at,
      );
    const reset = REJECT_TCP_RESET;
    const text = "reject with tcp reset";
    return { kind: "reject", text, with: reset, with6: reset, l3: 0, tcp: true };
  }
  lex.acceptWord("type");
  const codeAt = lex.start;
  const name = lex.word("a code");
  const found = REJECT_CODES[family]?.find(([word, code]) => word === name || String(code) === name);
  if (REJECT_CODES[family] === undefined) lex.fail(`reject: "${family}" is not icmp, icmpv6, icmpx or tcp`, at);
  const fits = { "": family, ip: "icmp", ip6: "icmpv6" }[version];
  if (family !== fits && (family !== "icmpx" || of === version))
    lex.fail(`reject: found "${family}", expected ${fits} or tcp: the rule's packets are ${version}`, at);
  if (found === undefined) lex.fail(`reject: "${name}" is no code of ${family}`, codeAt);
  const own = { ip: "icmp", ip6: "icmpv6", inet: "icmpx", bridge: "icmpx" }[of as string];
  const plain = family === own && found[0] === "port-unreachable";
  return {
    kind: "reject",
    text: plain ? "reject" : `reject with ${family} ${found[0]}`,
    with: found[2],
    with6: found[3],
    l3: family === "icmp" ? ETH_P_IP : family === "icmpv6" ? ETH_P_IPV6 : 0,
    tcp: false,
  };
}

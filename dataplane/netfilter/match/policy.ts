/** `-m policy` (xt_policy.c): whether IPsec handles a packet. There is none here: only `--pol none` matches. */
import type { MatchModule } from "./module.ts";

export type PolicyMatch = {
  readonly kind: "policy";
  readonly dir: "in" | "out";
  readonly pol: "none" | "ipsec";
};

export const policyMatch: MatchModule<PolicyMatch> = {
  name: "policy",
  options: { "--dir": { args: 1 }, "--pol": { args: 1 } },
  parse(o) {
    const dir = o.need("--dir");
    if (dir !== "in" && dir !== "out") return o.fail(`option --dir: "${dir}" is neither in nor out`);
    const pol = o.need("--pol");
    if (pol !== "none" && pol !== "ipsec") return o.fail(`option --pol: "${pol}" is neither none nor ipsec`);
    return { kind: "policy", dir, pol };
  },
  print: (m) => ` --dir ${m.dir} --pol ${m.pol}`,
  test: (m) => m.pol === "none",
};

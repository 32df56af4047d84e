/** `-m nfacct` (xt_nfacct.c): counts for an accounting object, as kube-proxy does; nobody reads these here. Always matches. */
import type { MatchModule } from "./module.ts";

export type NfacctMatch = { readonly kind: "nfacct"; readonly object: string };

/** Octets of a name, with the terminating zero (NFACCT_NAME_MAX). */
const NAME_MAX = 32;

export const nfacctMatch: MatchModule<NfacctMatch> = {
  name: "nfacct",
  options: { "--nfacct-name": { args: 1 } },
  parse(o) {
    const object = o.need("--nfacct-name");
    if (object === "" || object.length >= NAME_MAX) o.fail(`option --nfacct-name: "${object}" is not a name`);
    return { kind: "nfacct", object };
  },
  print: (m) => ` --nfacct-name ${m.object}`,
  test: () => true,
};

/**
 * CNI_ARGS, `K=V;K2=V2`: refused are pairs without `=` and, unless IgnoreUnknown is set, keys that no plugin of the
 * suite knows. The keys of Kubernetes runtimes are known and unused.
 */
import { BAD_ENV, CniError } from "./error.ts";

const KNOWN: readonly string[] = [
  "IP",
  "GATEWAY",
  "MAC",
  "K8S_POD_NAMESPACE",
  "K8S_POD_NAME",
  "K8S_POD_INFRA_CONTAINER_ID",
  "K8S_POD_UID",
];
const TRUE_TEXT = /^(?:1|t|true)$/i;

export function parseCniArgs(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const pair of text.split(";")) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    if (at <= 0) throw new CniError(BAD_ENV, `CNI_ARGS: found "${pair}", expected KEY=VALUE`);
    values.set(pair.slice(0, at), pair.slice(at + 1));
  }
  if (TRUE_TEXT.test(values.get("IgnoreUnknown") ?? "")) return values;
  const unknown = [...values.keys()].filter((key) => key !== "IgnoreUnknown" && !KNOWN.includes(key));
  if (unknown.length > 0) {
    throw new CniError(
      BAD_ENV,
      `CNI_ARGS: found ${unknown.join(", ")}, expected ${KNOWN.join(", ")} or IgnoreUnknown=1`,
    );
  }
  return values;
}

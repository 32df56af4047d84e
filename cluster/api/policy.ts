/** NetworkPolicy and Ingress (networking.k8s.io/v1): checked and stored; not enforced and not served yet. */
import { parseCidr } from "./ip.ts";
import { type Report, show } from "./issue.ts";
import { type KubeObject, kindSchema, type LabelSelector, selectorSchema } from "./meta.ts";
import type { Protocol } from "./pod.ts";
import { any, intOrString, list, obj, oneOf, opaque, port, type Schema, str } from "./schema.ts";

export type PolicyPort = { readonly port?: number | string; readonly endPort?: number; readonly protocol?: Protocol };
export type PolicyPeer = {
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
};
export type NetworkPolicy = KubeObject & {
  readonly kind: "NetworkPolicy";
  readonly spec: {
    readonly podSelector?: LabelSelector;
    readonly policyTypes?: readonly ("Ingress" | "Egress")[];
    readonly ingress?: readonly { readonly from?: readonly PolicyPeer[]; readonly ports?: readonly PolicyPort[] }[];
    readonly egress?: readonly { readonly to?: readonly PolicyPeer[]; readonly ports?: readonly PolicyPort[] }[];
  };
};
export type Ingress = KubeObject & { readonly kind: "Ingress"; readonly spec?: Readonly<Record<string, unknown>> };

const ports: Schema = list(obj({ port: intOrString, endPort: port, protocol: oneOf("TCP", "UDP", "SCTP") }));
const peers: Schema = list(
  obj({
    podSelector: selectorSchema,
    namespaceSelector: selectorSchema,
    ipBlock: obj({ cidr: str, except: list(str) }, "cidr"),
  }),
);
export const networkPolicySchema: Schema = kindSchema(
  {
    spec: obj({
      podSelector: selectorSchema,
      policyTypes: list(oneOf("Ingress", "Egress")),
      ingress: list(obj({ from: peers, ports })),
      egress: list(obj({ to: peers, ports })),
    }),
    status: opaque,
  },
  "spec",
);

const backend: Schema = obj({
  service: obj({ name: str, port: obj({ name: str, number: port }) }, "name"),
  resource: any,
});
export const ingressSchema: Schema = kindSchema({
  spec: obj({
    ingressClassName: str,
    defaultBackend: backend,
    tls: list(obj({ hosts: list(str), secretName: str })),
    rules: list(
      obj({
        host: str,
        http: obj(
          {
            paths: list(
              obj(
                { path: str, pathType: oneOf("Exact", "Prefix", "ImplementationSpecific"), backend },
                "pathType",
                "backend",
              ),
            ),
          },
          "paths",
        ),
      }),
    ),
  }),
  status: opaque,
});

export function checkNetworkPolicy(policy: NetworkPolicy, report: Report): void {
  for (const [field, side] of [
    ["ingress", "from"],
    ["egress", "to"],
  ] as const) {
    const rules: unknown = policy.spec?.[field];
    if (!Array.isArray(rules)) continue;
    for (const [i, rule] of rules.entries()) {
      const list: unknown = rule?.[side];
      if (!Array.isArray(list)) continue;
      for (const [j, peer] of list.entries()) checkPeer(peer, ["spec", field, i, side, j], report);
    }
  }
}

function checkPeer(peer: PolicyPeer | null, at: readonly (string | number)[], report: Report): void {
  const cidr = peer?.ipBlock?.cidr;
  if (cidr === undefined) return;
  if (parseCidr(cidr) === null) report("error", [...at, "ipBlock", "cidr"], show(cidr), "a CIDR such as 10.0.0.0/8");
  if (peer?.podSelector !== undefined || peer?.namespaceSelector !== undefined)
    report("error", [...at, "ipBlock"], "an ipBlock beside a selector", "one of them in a peer");
}

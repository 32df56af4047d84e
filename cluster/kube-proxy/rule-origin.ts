/** Which object of the cluster stands behind a rule or chain, for traces. */
export type RuleOrigin = {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** "port http", "endpoint 1 of 2", "masquerade of traffic from outside the cluster". */
  readonly detail: string;
};

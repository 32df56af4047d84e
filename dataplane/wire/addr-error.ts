/** Thrown by the literal helpers (`ipv4`, `mac`, `prefix4`, …) when a text is not an address. */

export class AddrError extends Error {
  readonly kind: string;
  readonly text: string;
  constructor(kind: string, text: string) {
    super(`${kind} ${JSON.stringify(text)}: not a valid ${kind}`);
    this.name = "AddrError";
    this.kind = kind;
    this.text = text;
  }
}

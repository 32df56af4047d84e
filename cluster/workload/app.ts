/** What answers on a port of an emulated container, as plain data. `respond.ts` gives the octets. */
import type { Protocol } from "../api/pod.ts";

export type App =
  /** HTTP/1.1; `page` says what a request gets. */
  | { readonly service: "http"; readonly page: HttpPage; readonly server: string }
  /** Sends back what comes. */
  | { readonly service: "tcp-echo" }
  | { readonly service: "udp-echo" }
  /** Says the pod's name, to each connection or datagram. */
  | { readonly service: "hostname" }
  /** agnhost netexec over UDP: `hostname`, `clientip`, `echo TEXT`. */
  | { readonly service: "netexec-udp" }
  | { readonly service: "redis" }
  | { readonly service: "dns" }
  /** Sends a text and closes. */
  | { readonly service: "text"; readonly text: string }
  /** Accepts and says nothing: a protocol that is not emulated. */
  | { readonly service: "accept" };

export type HttpPage =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "hostname" }
  | { readonly kind: "whoami" }
  | { readonly kind: "echo" }
  | { readonly kind: "netexec" }
  | { readonly kind: "welcome" };

export type Binding = { readonly protocol: Protocol; readonly port: number; readonly app: App };

/** `fixed`: these ports and no others. `default`: the container's declared ports instead, where it declares any. */
export type Program = { readonly ports: "fixed" | "default"; readonly bindings: readonly Binding[] };

export function http(server: string, page: HttpPage = { kind: "welcome" }): App {
  return { service: "http", server, page };
}
export const ACCEPT: App = { service: "accept" };
export const NOTHING: Program = { ports: "fixed", bindings: [] };

export function tcp(port: number, app: App): Binding {
  return { protocol: "TCP", port, app };
}
export function udp(port: number, app: App): Binding {
  return { protocol: "UDP", port, app };
}

/**
 * The octets that an emulated server sends back. One request, one answer; HTTP/1.1 connections stay open unless the
 * client says close. DNS is answered in `cluster/dns`, not here.
 */
import type { App, HttpPage } from "./app.ts";

export type RespondContext = {
  readonly podName: string;
  readonly podIp: string;
  /** `ip:port` of the client as the pod sees it. */
  readonly client: string;
  readonly local: string;
};
export type Response = { readonly data: Uint8Array; readonly close: boolean };

const NONE: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What to send when a connection opens, before the client has said anything. */
export function greet(app: App, context: RespondContext): Response {
  if (app.service === "text") return { data: encoder.encode(app.text), close: true };
  if (app.service === "hostname") return { data: encoder.encode(`${context.podName}\n`), close: true };
  return { data: NONE, close: false };
}

/** What to send for what came: a datagram, or all octets of a connection that were not answered yet. */
export function respond(app: App, request: Uint8Array, context: RespondContext): Response {
  switch (app.service) {
    case "http":
      return httpResponse(app.server, app.page, decoder.decode(request), context);
    case "tcp-echo":
    case "udp-echo":
      return { data: request, close: false };
    case "hostname":
      return { data: encoder.encode(`${context.podName}\n`), close: false };
    case "netexec-udp":
      return { data: encoder.encode(netexecCommand(decoder.decode(request).trim(), context)), close: false };
    case "redis":
      return { data: encoder.encode(redisReply(decoder.decode(request))), close: false };
    case "text":
    case "accept":
    case "dns":
      return { data: NONE, close: false };
  }
}

function netexecCommand(text: string, context: RespondContext): string {
  const [command = "", ...rest] = text.split(" ");
  switch (command.toLowerCase()) {
    case "hostname":
      return context.podName;
    case "clientip":
      return context.client;
    case "echo":
      return rest.join(" ");
    default:
      return "";
  }
}

function redisReply(text: string): string {
  const words = text.split(/\s+/).filter((w) => w !== "" && !/^[*$]\d+$/.test(w));
  return words[0]?.toUpperCase() === "PING" ? "+PONG\r\n" : "+OK\r\n";
}

/** Waits (no data, not closed) until the header is whole. */
function httpResponse(server: string, page: HttpPage, text: string, context: RespondContext): Response {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return { data: NONE, close: false };
  const head = text.slice(0, end);
  const [line = "", ...headers] = head.split("\r\n");
  const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method === undefined || target === undefined)
    return { data: message(server, 400, "Bad Request", "bad request\n", true, true), close: true };
  const close = headers.some((h) => /^connection:\s*close$/i.test(h)) || line.endsWith("HTTP/1.0");
  const body = bodyOf(server, page, target, head, context);
  return { data: message(server, 200, "OK", body, close, method !== "HEAD"), close };
}

function message(
  server: string,
  status: number,
  reason: string,
  body: string,
  close: boolean,
  withBody: boolean,
): Uint8Array {
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    `Server: ${server}`,
    `Content-Type: ${body.startsWith("<") ? "text/html" : "text/plain"}; charset=utf-8`,
    `Content-Length: ${encoder.encode(body).length}`,
    ...(close ? ["Connection: close"] : []),
  ];
  return encoder.encode(`${head.join("\r\n")}\r\n\r\n${withBody ? body : ""}`);
}

function bodyOf(server: string, page: HttpPage, target: string, head: string, context: RespondContext): string {
  switch (page.kind) {
    case "text":
      return page.text;
    case "hostname":
      return `${context.podName}\n`;
    case "whoami":
      return `Hostname: ${context.podName}\nIP: 127.0.0.1\nIP: ${context.podIp}\nRemoteAddr: ${context.client}\n${head.replaceAll("\r\n", "\n")}\n\n`;
    case "echo":
      return `Hostname: ${context.podName}\nclient: ${context.client}\nserver: ${context.local}\n\n${head.replaceAll("\r\n", "\n")}\n`;
    case "netexec": {
      const [path = "", query = ""] = target.split("?");
      const name = path.replace(/^\//, "").toLowerCase();
      if (name === "echo") return new URLSearchParams(query).get("msg") ?? "";
      return name === "hostname" || name === "clientip" ? netexecCommand(name, context) : `NOW: ${context.podName}\n`;
    }
    case "welcome":
      return `<!doctype html><title>${server}</title><h1>${server} in ${context.podName}</h1>\n`;
  }
}

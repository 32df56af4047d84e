/**
 * What the containers of a pod listen on: nothing runs here, so it is read from the image, the command, the arguments,
 * the environment, the declared ports and the probes.
 *
 * Where the program is known and its arguments say the port, that port is open and no other. A server that is known but
 * set up by files (nginx, redis, …) listens on the declared ports, or on its default one. Of an unknown program each
 * declared or probed port is open. `why` says which of these it was.
 */
import type { Container, Pod, Probe, Protocol } from "../api/pod.ts";
import { runningContainers } from "../api/pod.ts";
import { ACCEPT, type App, type Binding, http, type Program } from "./app.ts";
import { type Env, knownImage, programOf } from "./programs.ts";
import { commandsOf } from "./shell-words.ts";

export type Listener = {
  readonly container: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly service: App["service"];
  readonly app: App;
  readonly why: string;
};

/** `envOf` gives a container's resolved environment; without it, the values that stand in the manifest. */
export function listenersOf(pod: Pod, envOf: (container: Container) => Env = literalEnv): readonly Listener[] {
  const out = new Map<string, Listener>();
  for (const container of runningContainers(pod.spec))
    for (const listener of listenersOfContainer(container, envOf(container))) {
      const key = `${listener.protocol} ${listener.port}`;
      if (!out.has(key)) out.set(key, listener);
    }
  return [...out.values()];
}

function literalEnv(container: Container): Env {
  return Object.fromEntries((container.env ?? []).flatMap((e) => (e.value === undefined ? [] : [[e.name, e.value]])));
}

function listenersOfContainer(container: Container, env: Env): readonly Listener[] {
  const make = ({ protocol, port, app }: Binding, why: string): Listener => ({
    container: container.name,
    protocol,
    port,
    service: app.service,
    app,
    why,
  });
  const program = findProgram(container, env);
  const declared = (container.ports ?? []).map((p) => ({
    protocol: p.protocol ?? ("TCP" as const),
    port: p.containerPort,
    name: p.name ?? "",
  }));
  if (program !== undefined && (program.ports === "fixed" || declared.length === 0))
    return program.bindings
      .filter((b) => b.port > 0)
      .map((b) => make(b, program.ports === "fixed" ? "its command" : "the default of its image"));
  const appFor = (protocol: Protocol, port: number, name: string): App =>
    program?.bindings.find((b) => b.protocol === protocol && b.port === port)?.app ??
    program?.bindings.find((b) => b.protocol === protocol)?.app ??
    guess(protocol, port, name);
  const out = declared.map((p) =>
    make({ protocol: p.protocol, port: p.port, app: appFor(p.protocol, p.port, p.name) }, "its ports"),
  );
  if (program !== undefined) return out;
  for (const probed of probedPorts(container))
    if (!out.some((l) => l.protocol === "TCP" && l.port === probed.port)) out.push(make(probed, "its probes"));
  return out;
}

function findProgram(container: Container, env: Env): Program | undefined {
  const image = knownImage(container.image ?? "");
  const { command = [], args = [] } = container;
  if (command.length === 0 && image !== undefined && "program" in image) return image.program(env);
  const entrypoint = image !== undefined && "entrypoint" in image ? image.entrypoint : [];
  const defaults = image !== undefined && "cmd" in image ? (image.cmd ?? []) : [];
  const argv = command.length > 0 ? [...command, ...args] : [...entrypoint, ...(args.length > 0 ? args : defaults)];
  const expanded = argv.map((a) =>
    a.replace(
      /\$\(([^)]+)\)|\$\{(\w+)\}/g,
      (whole, a1: string | undefined, a2: string | undefined) => env[a1 ?? a2 ?? ""] ?? whole,
    ),
  );
  // Options alone go to the program that the image starts.
  const withProgram = command.length === 0 && /^-/.test(expanded[0] ?? "") ? [...defaults, ...expanded] : expanded;
  const programs = commandsOf(withProgram).map((c) => programOf(c, env));
  const known = programs.filter((p) => p !== undefined);
  const bindings = known.flatMap((p) => p.bindings);
  if (bindings.length > 0)
    return { ports: known.some((p) => p.ports === "fixed" && p.bindings.length > 0) ? "fixed" : "default", bindings };
  // A shell that waits, a sleeper: nothing listens. A program that nobody knows: ask its ports.
  const shell = /^(?:.*\/)?(?:sh|bash|ash|zsh)$/.test(withProgram[0] ?? "") && withProgram.length === 1;
  return shell || (known.length > 0 && known.length === programs.length) ? { ports: "fixed", bindings: [] } : undefined;
}

function probedPorts(container: Container): readonly Binding[] {
  const probes = [container.readinessProbe, container.livenessProbe, container.startupProbe].filter(
    (p) => p !== undefined,
  );
  return probes.flatMap((probe: Probe): Binding[] => {
    const port = probe.httpGet?.port ?? probe.tcpSocket?.port ?? probe.grpc?.port;
    if (typeof port !== "number") return [];
    const plain = probe.httpGet !== undefined && probe.httpGet.scheme !== "HTTPS";
    return [{ protocol: "TCP", port, app: plain ? http("app", { kind: "hostname" }) : ACCEPT }];
  });
}

const WEB_PORTS: ReadonlySet<number> = new Set([80, 3000, 4000, 5000, 8000, 8008, 8080, 8081, 8888, 9000, 9090]);

/** Of a program that nobody knows: UDP echoes, a port that looks like the web's answers HTTP, the rest accepts. */
function guess(protocol: Protocol, port: number, name: string): App {
  if (protocol === "UDP") return { service: port === 53 ? "dns" : "udp-echo" };
  if (protocol === "SCTP" || /https|tls|grpc/.test(name)) return ACCEPT;
  return /http|web|metrics|health/.test(name) || WEB_PORTS.has(port) ? http("app", { kind: "hostname" }) : ACCEPT;
}

/** Programs that are known by name: what they listen on with these arguments. */
import { ACCEPT, type App, type Binding, http, NOTHING, type Program, tcp, udp } from "./app.ts";
import { option } from "./shell-words.ts";

export type Env = Readonly<Record<string, string>>;
type Known = (args: readonly string[], env: Env) => Program;

const fixed = (...bindings: readonly Binding[]): Program => ({ ports: "fixed", bindings });
const byDefault = (...bindings: readonly Binding[]): Program => ({ ports: "default", bindings });

/** The port at the end of ":8080", "0.0.0.0:8080", "[::]:8080" or "8080". */
function portIn(text: string | undefined, otherwise: number): number {
  const n = Number(/(\d+)$/.exec(text ?? "")?.[1]);
  return Number.isInteger(n) && n >= 0 && n <= 65535 ? n : otherwise;
}

function agnhost(args: readonly string[], env: Env): Program {
  const [command = "pause", ...rest] = args;
  switch (command) {
    case "netexec": {
      const web = portIn(option(rest, "--http-port"), 8080);
      const datagrams = option(rest, "--udp-port");
      const bindings = [tcp(web, http("agnhost", { kind: "netexec" }))];
      if (datagrams !== "-1") bindings.push(udp(portIn(datagrams, 8081), { service: "netexec-udp" }));
      const sctp = option(rest, "--sctp-port");
      if (sctp !== undefined && sctp !== "-1")
        bindings.push({ protocol: "SCTP", port: portIn(sctp, 0), app: { service: "hostname" } });
      return fixed(...bindings);
    }
    case "serve-hostname": {
      const port = portIn(option(rest, "--port"), 9376);
      const on = (name: string, otherwise: boolean): boolean =>
        rest.some((a) => a === `--${name}` || a === `--${name}=true`) ||
        (otherwise && !rest.includes(`--${name}=false`));
      const bindings: Binding[] = [];
      if (on("tcp", false)) bindings.push(tcp(port, { service: "hostname" }));
      else if (on("http", true)) bindings.push(tcp(port, http("agnhost", { kind: "hostname" })));
      if (on("udp", false)) bindings.push(udp(port, { service: "hostname" }));
      return fixed(...bindings);
    }
    case "porter": {
      const ports = Object.entries(env).flatMap(([name, text]) => {
        const m = /^SERVE_(TLS_)?(SCTP_)?PORT_(\d+)$/.exec(name);
        return m === null ? [] : [{ sctp: m[2] !== undefined, port: Number(m[3]), text }];
      });
      return fixed(
        ...ports.map(
          (p): Binding => ({
            protocol: p.sctp ? "SCTP" : "TCP",
            port: p.port,
            app: p.sctp ? ACCEPT : http("agnhost", { kind: "text", text: p.text }),
          }),
        ),
      );
    }
    case "test-webserver":
      return fixed(tcp(portIn(option(rest, "--port"), 80), http("agnhost")));
    case "liveness":
      return fixed(tcp(8080, http("agnhost", { kind: "text", text: "ok" })));
    case "guestbook":
      return fixed(tcp(portIn(option(rest, "--http-port"), 80), http("agnhost")));
    case "grpc-health-checking":
      return fixed(
        tcp(portIn(option(rest, "--port"), 5000), ACCEPT),
        tcp(portIn(option(rest, "--http-port"), 8080), http("agnhost")),
      );
    case "webhook":
      return fixed(tcp(portIn(option(rest, "--port"), 8443), ACCEPT));
    default:
      return NOTHING;
  }
}

/** nc, ncat: -l with -p PORT, or the port as the last number; -u; -e or -c for what is run. */
function netcat(args: readonly string[]): Program {
  const flags = args.filter((a) => /^-[a-zA-Z]/.test(a)).join("");
  if (!flags.includes("l")) return NOTHING;
  const joined = args.findIndex((a) => /^-[a-zA-Z]*p$/.test(a));
  const numbers = args.filter((a) => /^\d+$/.test(a));
  const port = portIn(option(args, "-p") ?? (joined >= 0 ? args[joined + 1] : undefined) ?? numbers.at(-1), 31337);
  const at = args.findIndex((a) => /^-[a-zA-Z]*[ec]$/.test(a));
  const run = at < 0 ? [] : args.slice(at + 1);
  const name = (run[0] ?? "").replace(/^.*\//, "");
  const app: App =
    name === "cat" || name.endsWith("/cat")
      ? { service: "tcp-echo" }
      : name === "hostname"
        ? { service: "hostname" }
        : name === "echo"
          ? { service: "text", text: `${run.slice(1).join(" ")}\n` }
          : ACCEPT;
  if (/^-[a-zA-Z]*u/.test(flags) || args.includes("-u")) return fixed(udp(port, { service: "udp-echo" }));
  return fixed(tcp(port, app));
}

function socat(args: readonly string[]): Program {
  const bindings: Binding[] = [];
  for (const [i, arg] of args.entries()) {
    const m = /^(TCP|UDP|SCTP)[46]?-(?:LISTEN|RECVFROM|RECV|L):(\d+)/i.exec(arg);
    if (m === null) continue;
    const other = args[i + 1] ?? "";
    const protocol = (m[1] ?? "TCP").toUpperCase() as Binding["protocol"];
    const echo = /^(?:PIPE|EXEC:'?(?:\/bin\/)?cat|EXEC:"?cat)/i.test(other);
    const text = /^(?:SYSTEM|EXEC):['"]?echo (.*?)['"]?$/i.exec(other)?.[1];
    const app: App =
      text !== undefined
        ? { service: "text", text: `${text}\n` }
        : protocol === "UDP"
          ? { service: "udp-echo" }
          : echo
            ? { service: "tcp-echo" }
            : ACCEPT;
    bindings.push({ protocol, port: Number(m[2]), app });
  }
  return fixed(...bindings);
}

function python(args: readonly string[]): Program | undefined {
  const module = option(args, "-m");
  if (module !== "http.server" && module !== "SimpleHTTPServer") return undefined;
  const rest = args.slice(args.indexOf(module) + 1);
  const positional = rest.find((a, i) => /^\d+$/.test(a) && !/^-/.test(rest[i - 1] ?? ""));
  return fixed(tcp(portIn(positional, 8000), http("SimpleHTTP")));
}

const idle: Known = () => NOTHING;

const PROGRAMS: Readonly<Record<string, (args: readonly string[], env: Env) => Program | undefined>> = {
  agnhost,
  nc: netcat,
  ncat: netcat,
  netcat,
  socat,
  python,
  python3: python,
  httpd: (args) =>
    args.some((a) => /^-\w*f/.test(a)) || args.includes("-p") || args.includes("-h")
      ? fixed(tcp(portIn(option(args, "-p"), 80), http("busybox")))
      : byDefault(tcp(80, http("httpd"))),
  "httpd-foreground": () => byDefault(tcp(80, http("httpd"))),
  nginx: () => byDefault(tcp(80, http("nginx"))),
  caddy: () => byDefault(tcp(80, http("caddy"))),
  whoami: (args, env) =>
    fixed(
      tcp(portIn(option(args, "--port", "-port") ?? env.WHOAMI_PORT_NUMBER, 80), http("whoami", { kind: "whoami" })),
    ),
  "http-echo": (args, env) =>
    fixed(
      tcp(
        portIn(option(args, "-listen", "--listen"), 5678),
        http("http-echo", { kind: "text", text: `${option(args, "-text", "--text") ?? env.ECHO_TEXT ?? ""}\n` }),
      ),
    ),
  "redis-server": (args) => byDefault(tcp(portIn(option(args, "--port"), 6379), { service: "redis" })),
  coredns: () => byDefault(udp(53, { service: "dns" }), tcp(53, { service: "dns" }), tcp(9153, http("coredns"))),
  iperf3: (args) =>
    args.includes("-s") || args.includes("--server")
      ? fixed(
          tcp(portIn(option(args, "-p", "--port"), 5201), ACCEPT),
          udp(portIn(option(args, "-p", "--port"), 5201), { service: "udp-echo" }),
        )
      : NOTHING,
  podinfo: (args) => fixed(tcp(portIn(option(args, "--port"), 9898), http("podinfo", { kind: "hostname" }))),
  sleep: idle,
  pause: idle,
  tail: idle,
  cat: idle,
  top: idle,
  yes: idle,
  curl: idle,
  wget: idle,
  ping: idle,
  watch: idle,
};

/** Undefined: a program that nothing is known of. */
export function programOf(argv: readonly string[], env: Env): Program | undefined {
  const name = (argv[0] ?? "").replace(/^.*\//, "");
  const args = argv.slice(1);
  if (name === "busybox" && args.length > 0) return programOf(args, env);
  return Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name]?.(args, env) : undefined;
}

/** Images by the end of their name: how they start where the container gives no command, or what they listen on. */
export type KnownImage =
  | { readonly entrypoint: readonly string[]; readonly cmd?: readonly string[] }
  | { readonly program: (env: Env) => Program };

const starts = (...entrypoint: readonly string[]): KnownImage => ({ entrypoint });
const runs = (...cmd: readonly string[]): KnownImage => ({ entrypoint: [], cmd });
const serves = (program: (env: Env) => Program): KnownImage => ({ program });
const tcpOnly = (...ports: readonly number[]): KnownImage =>
  serves(() => byDefault(...ports.map((p) => tcp(p, ACCEPT))));
const web = (port: number, name: string): KnownImage =>
  serves((env) => byDefault(tcp(portIn(env.PORT, port), http(name))));
const echoes = (port: number, name: string): KnownImage =>
  serves((env) => byDefault(tcp(portIn(env.PORT ?? env.HTTP_PORT, port), http(name, { kind: "echo" }))));

const IMAGES: readonly (readonly [name: string, known: KnownImage])[] = [
  ["agnhost", { entrypoint: ["/agnhost"], cmd: ["pause"] }],
  ["busybox", runs("sh")],
  ["alpine", runs("sh")],
  ["ubuntu", runs("bash")],
  ["debian", runs("bash")],
  ["netshoot", runs("zsh")],
  ["pause", starts("/pause")],
  ["nginx", runs("nginx")],
  ["nginx-unprivileged", serves(() => byDefault(tcp(8080, http("nginx"))))],
  ["nginxdemos/hello", serves(() => byDefault(tcp(80, http("nginx", { kind: "hostname" }))))],
  ["httpd", runs("httpd-foreground")],
  ["caddy", runs("caddy")],
  ["traefik/whoami", starts("/whoami")],
  ["containous/whoami", starts("/whoami")],
  ["jwilder/whoami", serves((env) => byDefault(tcp(portIn(env.PORT, 8000), http("whoami", { kind: "hostname" }))))],
  ["hashicorp/http-echo", starts("/http-echo")],
  ["ealen/echo-server", echoes(80, "echo-server")],
  ["jmalloc/echo-server", echoes(8080, "echo-server")],
  [
    "mendhak/http-https-echo",
    serves((env) =>
      byDefault(
        tcp(portIn(env.HTTP_PORT, 8080), http("echo", { kind: "echo" })),
        tcp(portIn(env.HTTPS_PORT, 8443), ACCEPT),
      ),
    ),
  ],
  ["echoserver", echoes(8080, "echoserver")],
  ["hello-app", serves((env) => byDefault(tcp(portIn(env.PORT, 8080), http("hello-app", { kind: "hostname" }))))],
  [
    "hello-kubernetes",
    serves((env) => byDefault(tcp(portIn(env.PORT, 8080), http("hello-kubernetes", { kind: "hostname" })))),
  ],
  ["podinfo", starts("./podinfo")],
  ["kennethreitz/httpbin", echoes(80, "httpbin")],
  ["go-httpbin", echoes(8080, "go-httpbin")],
  ["python", runs("python3")],
  ["redis", runs("redis-server")],
  ["valkey", runs("redis-server")],
  ["coredns", starts("/coredns")],
  ["curl", runs("curl")],
  ["iperf3", starts("iperf3")],
  ["postgres", tcpOnly(5432)],
  ["mysql", tcpOnly(3306)],
  ["mariadb", tcpOnly(3306)],
  ["mongo", tcpOnly(27017)],
  ["memcached", tcpOnly(11211)],
  ["rabbitmq", tcpOnly(5672)],
  ["etcd", tcpOnly(2379, 2380)],
  ["kafka", tcpOnly(9092)],
  ["zookeeper", tcpOnly(2181)],
  ["elasticsearch", web(9200, "elasticsearch")],
  ["grafana", web(3000, "grafana")],
  ["prometheus", web(9090, "prometheus")],
  ["registry", web(5000, "registry")],
  ["tomcat", web(8080, "tomcat")],
  ["haproxy", web(80, "haproxy")],
  ["traefik", web(80, "traefik")],
  ["minio", web(9000, "minio")],
];

/** `registry.k8s.io/e2e-test-images/agnhost:2.39@sha256:…` is agnhost. */
export function knownImage(image: string): KnownImage | undefined {
  const name = image.replace(/@.*$/, "").replace(/:[^/:]*$/, "");
  const last = name.replace(/^.*\//, "");
  return (
    IMAGES.find(([known]) => known.includes("/") && (name === known || name.endsWith(`/${known}`)))?.[1] ??
    IMAGES.find(([known]) => known === last)?.[1]
  );
}

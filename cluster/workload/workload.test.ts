import { describe, expect, it } from "vitest";
import type { Container, Pod } from "../api/pod.ts";
import type { Store } from "../store/store.ts";
import { MemoryStore } from "../store/store-memory.ts";
import { environmentOf, expand } from "./env.ts";
import { listenersOf } from "./listeners.ts";
import { greet, respond } from "./respond.ts";
import { shellCommands } from "./shell-words.ts";

const pod = (container: Partial<Container>): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "p", namespace: "shop", uid: "u", labels: { app: "x" }, annotations: { "a.io/b": "note" } },
  spec: { nodeName: "n1", containers: [{ name: "c", ...container }] },
  status: { podIP: "10.244.1.2" },
});
const ports = (...numbers: number[]): { containerPort: number }[] =>
  numbers.map((containerPort) => ({ containerPort }));
const show = (container: Partial<Container>): string =>
  listenersOf(pod(container))
    .map((l) => `${l.protocol}/${l.port} ${l.service}`)
    .join(", ");

describe("what a container listens on", () => {
  it.each<[string, Partial<Container>, string]>([
    ["agnhost by default", { image: "registry.k8s.io/e2e-test-images/agnhost:2.39" }, ""],
    [
      "agnhost netexec",
      {
        image: "registry.k8s.io/e2e-test-images/agnhost:2.39",
        args: ["netexec", "--http-port=80", "--udp-port", "90"],
      },
      "TCP/80 http, UDP/90 netexec-udp",
    ],
    [
      "agnhost netexec without UDP, whatever is declared",
      { image: "agnhost", command: ["/agnhost", "netexec", "--udp-port=-1"], ports: ports(1234) },
      "TCP/8080 http",
    ],
    ["agnhost serve-hostname", { image: "agnhost", args: ["serve-hostname"] }, "TCP/9376 http"],
    [
      "agnhost serve-hostname, TCP and UDP",
      { image: "agnhost", args: ["serve-hostname", "--http=false", "--tcp", "--udp", "--port=99"] },
      "TCP/99 hostname, UDP/99 hostname",
    ],
    [
      "agnhost porter",
      {
        image: "agnhost",
        args: ["porter"],
        env: [
          { name: "SERVE_PORT_80", value: "foo" },
          { name: "SERVE_SCTP_PORT_81", value: "x" },
        ],
      },
      "TCP/80 http, SCTP/81 accept",
    ],
    ["nginx", { image: "nginx:1.27" }, "TCP/80 http"],
    [
      "nginx that declares another port",
      { image: "docker.io/library/nginx@sha256:abc", ports: ports(8080) },
      "TCP/8080 http",
    ],
    ["an nginx that sleeps", { image: "nginx", command: ["sleep", "infinity"], ports: ports(80) }, ""],
    ["httpd", { image: "httpd:2" }, "TCP/80 http"],
    ["redis", { image: "redis:7-alpine", ports: [{ containerPort: 6379, name: "redis" }] }, "TCP/6379 redis"],
    ["redis on another port", { image: "redis", args: ["--port", "7000"] }, "TCP/7000 redis"],
    ["whoami", { image: "traefik/whoami", args: ["--port=8000"] }, "TCP/8000 http"],
    ["http-echo", { image: "hashicorp/http-echo:1.0", args: ["-listen=:8081", "-text=hi"] }, "TCP/8081 http"],
    ["an idle busybox", { image: "busybox", command: ["sleep", "3600"] }, ""],
    ["a busybox with a shell", { image: "busybox:1.36" }, ""],
    [
      "busybox httpd in a script",
      {
        image: "busybox",
        command: ["sh", "-c", "mkdir -p /www && echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"],
      },
      "TCP/8080 http",
    ],
    [
      "nc in a loop",
      { image: "busybox", command: ["/bin/sh", "-c", "while true; do echo hello | nc -l -p 9000; done"] },
      "TCP/9000 accept",
    ],
    ["nc that runs cat", { image: "busybox", command: ["nc", "-lk", "-p", "7", "-e", "cat"] }, "TCP/7 tcp-echo"],
    ["nc over UDP", { image: "alpine", args: ["nc", "-luk", "-p", "53"] }, "UDP/53 udp-echo"],
    ["nc as a client", { image: "busybox", command: ["nc", "backend", "80"] }, ""],
    ["socat", { image: "alpine/socat", command: ["socat", "TCP-LISTEN:7,fork", "EXEC:cat"] }, "TCP/7 tcp-echo"],
    ["python's server", { image: "python:3.12", command: ["python3", "-m", "http.server", "8001"] }, "TCP/8001 http"],
    [
      "python's server without a port",
      { image: "python:3.12", args: ["python", "-m", "http.server"] },
      "TCP/8000 http",
    ],
    [
      "a python program that nobody knows",
      { image: "python", command: ["python", "app.py"], ports: ports(5000) },
      "TCP/5000 http",
    ],
    [
      "an unknown image by its ports",
      {
        image: "acme/shop:v1",
        ports: [
          { containerPort: 7777 },
          { containerPort: 9000, name: "http" },
          { containerPort: 514, protocol: "UDP" },
        ],
      },
      "TCP/7777 accept, TCP/9000 http, UDP/514 udp-echo",
    ],
    [
      "an unknown image by its probes",
      { image: "acme/shop", readinessProbe: { httpGet: { port: 8090 } }, livenessProbe: { tcpSocket: { port: 8091 } } },
      "TCP/8090 http, TCP/8091 accept",
    ],
    ["an unknown image that says nothing", { image: "acme/shop" }, ""],
    [
      "a port from the environment",
      { image: "gcr.io/google-samples/hello-app:1.0", env: [{ name: "PORT", value: "50000" }] },
      "TCP/50000 http",
    ],
    [
      "an argument from the environment",
      { image: "agnhost", args: ["netexec", "--http-port=$(P)", "--udp-port=-1"], env: [{ name: "P", value: "81" }] },
      "TCP/81 http",
    ],
    ["CoreDNS", { image: "registry.k8s.io/coredns/coredns:v1.11.3" }, "UDP/53 dns, TCP/53 dns, TCP/9153 http"],
    ["the pause container", { image: "registry.k8s.io/pause:3.9" }, ""],
    ["postgres", { image: "postgres:16" }, "TCP/5432 accept"],
  ])("%s", (_, container, want) => {
    expect(show(container)).toBe(want);
  });

  it("says why, and counts sidecars in", () => {
    const p = pod({ image: "acme/app", ports: ports(80) });
    const with2 = {
      ...p,
      spec: {
        ...p.spec,
        initContainers: [
          { name: "side", image: "redis", restartPolicy: "Always" },
          { name: "setup", image: "nginx" },
        ],
      },
    };
    expect(listenersOf(with2).map((l) => [l.container, l.port, l.why])).toEqual([
      ["side", 6379, "the default of its image"],
      ["c", 80, "its ports"],
    ]);
  });

  it("splits scripts into commands", () => {
    expect(shellCommands(`A=1 exec a 'b c' "d \\" e" f\\ g; h && i | j # k\nl &`)).toEqual([
      ["a", "b c", 'd " e', "f g"],
      ["h"],
      ["i"],
      ["j"],
      ["l"],
    ]);
  });
});

describe("what an emulated server answers", () => {
  const context = { podName: "web-0", podIp: "10.244.1.2", client: "10.244.2.3:40000", local: "10.244.1.2:80" };
  const ask = (image: string, args: string[], request: string): string => {
    const app = listenersOf(pod({ image, ...(args.length > 0 ? { args } : {}) }))[0]?.app;
    if (app === undefined) throw new Error("no listener");
    return new TextDecoder().decode(respond(app, new TextEncoder().encode(request), context).data);
  };
  const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

  it.each([
    [
      "the text of http-echo",
      "hashicorp/http-echo",
      ["-text=hi"],
      GET("/"),
      /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 3\r\n\r\nhi\n$/,
    ],
    ["netexec's host name", "agnhost", ["netexec"], GET("/hostname"), /\r\n\r\nweb-0$/],
    ["netexec's client address", "agnhost", ["netexec"], GET("/clientip"), /\r\n\r\n10\.244\.2\.3:40000$/],
    ["netexec's echo", "agnhost", ["netexec"], GET("/echo?msg=a%20b"), /\r\n\r\na b$/],
    ["whoami", "traefik/whoami", [], GET("/x"), /RemoteAddr: 10\.244\.2\.3:40000\nGET \/x HTTP\/1\.1\nHost: x\n/],
    ["redis", "redis", [], "*1\r\n$4\r\nPING\r\n", /^\+PONG\r\n$/],
    ["nothing before the request is whole", "nginx", [], "GET / HTTP/1.1\r\nHo", /^$/],
    ["bad HTTP", "nginx", [], "\0\r\n\r\n", /^HTTP\/1\.1 400 /],
  ] as [string, string, string[], string, RegExp][])("%s", (_, image, args, request, want) => {
    expect(ask(image, args, request)).toMatch(want);
  });

  it("greets where the server speaks first", () => {
    expect(new TextDecoder().decode(greet({ service: "hostname" }, context).data)).toBe("web-0\n");
    expect(greet({ service: "accept" }, context)).toEqual({ data: new Uint8Array(0), close: false });
  });
});

describe("a container's environment", () => {
  async function store(): Promise<Store> {
    const s = new MemoryStore({ now: () => 0 });
    const objects = [
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "kubernetes", namespace: "default" },
        spec: { clusterIP: "10.96.0.1", ports: [{ name: "https", port: 443 }] },
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "my-db", namespace: "shop" },
        spec: {
          clusterIP: "10.96.0.7",
          ports: [
            { name: "sql", port: 5432 },
            { name: "stats-x", port: 53, protocol: "UDP" },
          ],
        },
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "headless", namespace: "shop" },
        spec: { clusterIP: "None", ports: [{ port: 1 }] },
      },
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "cm", namespace: "shop" }, data: { A: "1", B: "2" } },
      {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "sec", namespace: "shop" },
        data: { PASS: "aHVudGVyMg==" },
      },
      {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "n1" },
        status: { addresses: [{ type: "InternalIP", address: "192.168.0.11" }] },
      },
    ];
    for (const o of objects) await s.create(o);
    return s;
  }

  it("has the services of its namespace and the API server", async () => {
    const c = { name: "c" };
    expect(environmentOf(pod(c), c, await store()).vars).toMatchObject({
      KUBERNETES_SERVICE_HOST: "10.96.0.1",
      KUBERNETES_SERVICE_PORT_HTTPS: "443",
      MY_DB_SERVICE_HOST: "10.96.0.7",
      MY_DB_SERVICE_PORT: "5432",
      MY_DB_SERVICE_PORT_STATS_X: "53",
      MY_DB_PORT: "tcp://10.96.0.7:5432",
      MY_DB_PORT_53_UDP_ADDR: "10.96.0.7",
    });
    const p = pod(c);
    const off = environmentOf({ ...p, spec: { ...p.spec, enableServiceLinks: false } }, c, await store()).vars;
    expect(Object.keys(off).every((k) => k.startsWith("KUBERNETES_"))).toBe(true);
  });

  it("resolves references in the order in which they stand", async () => {
    const c: Container = {
      name: "c",
      resources: { limits: { memory: "64Mi" } },
      envFrom: [
        { prefix: "CM_", configMapRef: { name: "cm" } },
        { secretRef: { name: "sec" } },
        { configMapRef: { name: "no", optional: true } },
      ],
      env: [
        { name: "PLAIN", value: "x" },
        { name: "BOTH", value: "$(PLAIN)-$(CM_A)-$$(PLAIN)-$(NOT)" },
        { name: "CM_A", valueFrom: { configMapKeyRef: { name: "cm", key: "B" } } },
        { name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
        { name: "HOST", valueFrom: { fieldRef: { fieldPath: "status.hostIP" } } },
        { name: "LABEL", valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
        { name: "NOTE", valueFrom: { fieldRef: { fieldPath: "metadata.annotations['a.io/b']" } } },
        { name: "MEM", valueFrom: { resourceFieldRef: { resource: "limits.memory" } } },
        { name: "GONE", valueFrom: { configMapKeyRef: { name: "cm", key: "Z" } } },
        { name: "NEVER", valueFrom: { secretKeyRef: { name: "none", key: "Z" } } },
      ],
    };
    const { vars, missing } = environmentOf(pod(c), c, await store());
    expect(vars).toMatchObject({
      PLAIN: "x",
      BOTH: "x-1-$(PLAIN)-$(NOT)",
      CM_A: "2",
      CM_B: "2",
      PASS: "hunter2",
      IP: "10.244.1.2",
      HOST: "192.168.0.11",
      LABEL: "x",
      NOTE: "note",
      MEM: "64Mi",
    });
    expect(missing).toEqual([
      "env GONE: ConfigMap cm has no key Z",
      "Secret shop/none does not exist",
      "env NEVER: Secret none has no key Z",
    ]);
  });

  it("leaves what is no reference alone", () => {
    expect(expand("a$b $(X) $$(X) $$", { X: "1" })).toBe("a$b 1 $(X) $");
  });
});

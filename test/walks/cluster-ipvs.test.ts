/** Whole walks through a booted cluster with kube-proxy in ipvs mode: who reaches whom, by which way, and what the receiver sees. */
import { beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../library/index.ts";
import "../../library/vitest.ts";

const MANIFESTS = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  replicas: 3
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: client}
spec: {selector: {app: client}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: solo, labels: {app: solo}}
spec:
  nodeName: node-2
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec, --http-port=8080, --udp-port=8081]
      ports: [{containerPort: 8080, name: web}, {containerPort: 8081, protocol: UDP, name: dgram}]
---
apiVersion: v1
kind: Service
metadata: {name: solo}
spec:
  type: NodePort
  selector: {app: solo}
  ports:
    - {name: web, port: 80, targetPort: web, nodePort: 30080}
    - {name: dgram, port: 81, targetPort: dgram, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: local-only}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: solo}
  ports: [{port: 80, targetPort: web, nodePort: 30081}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {selector: {app: client}, sessionAffinity: ClientIP, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-host}
spec:
  nodeName: node-1
  hostNetwork: true
  containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: with-host-port}
spec:
  nodeName: node-3
  containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 8088}]}]
`;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.create({ sources: [{ file: "walks.yaml", text: MANIFESTS }], proxyMode: "ipvs" });
});

function clientOn(node: string): string {
  const pod = cluster.store.list("Pod").find((p) => p.spec.nodeName === node && p.metadata.labels?.app === "client");
  if (pod === undefined) throw new Error(`no client on ${node}`);
  return `pod/${pod.metadata.name}`;
}

describe("Services", () => {
  it("reach a pod of another node: DNAT, tunnel, and the reply from the Service's address", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "svc/solo:web");
    expect(traced).toBeDelivered("solo");
    expect(traced).toPassThrough("Service default/solo");
    expect(traced).toPassThrough("flannel.1");
    const ip = cluster.store.get("Service", "default", "solo")?.spec.clusterIP;
    expect(traced.result.reply.hops.at(-1)?.packet).toMatch(new RegExp(`^${ip}:80 → `));
  });

  it("reach a pod of the same node", async () => {
    const traced = await cluster.trace(clientOn("node-2"), "svc/solo:web");
    expect(traced).toBeDelivered("solo");
    expect(traced).not.toPassThrough("flannel.1");
    expect(traced.result.reply.verdict).toBe("delivered");
  });

  it("serve UDP", async () => {
    const traced = await cluster.trace(clientOn("node-3"), "svc/solo:81", { protocol: "udp" });
    expect(traced).toBeDelivered("solo");
    expect(traced.result.reply.verdict).toBe("delivered");
  });

  it("lead a pod back to itself, masqueraded", async () => {
    const traced = await cluster.trace("pod/solo", "svc/solo:web");
    expect(traced).toBeDelivered("solo");
    expect(traced.result.masqueraded).toBe(true);
    expect(traced.result.reply.verdict).toBe("delivered");
  });

  it("reach every endpoint in turn", async () => {
    const names = new Set<string | undefined>();
    for (let i = 0; i < 3; i++) names.add((await cluster.trace("pod/solo", "svc/client:80")).result.deliveredTo?.name);
    const pods = cluster.store.list("Pod").filter((p) => p.metadata.labels?.app === "client");
    expect([...names].sort()).toEqual(pods.map((p) => p.metadata.name).sort());
  });

  it("with session affinity keep a client at its endpoint", async () => {
    const first = await cluster.trace("pod/solo", "svc/sticky:80");
    for (let i = 0; i < 8; i++) {
      const again = await cluster.trace("pod/solo", "svc/sticky:80");
      expect(again).toBeDelivered(first.result.deliveredTo?.name);
    }
  });

  it("without endpoints refuse", async () => {
    const traced = await cluster.trace("pod/solo", "svc/nobody:80");
    expect(traced).toBeRejected();
    expect(traced).toBeDroppedBy("NETFILTER_DROP");
  });

  it("are reached from outside by a node port of any node, masqueraded", async () => {
    for (const node of ["node-1", "node-2", "node-3"]) {
      const traced = await cluster.trace("external", `node/${node}:30080`);
      expect(traced).toBeDelivered("solo");
      expect(traced.result.masqueraded).toBe(true);
      expect(traced.result.reply.hops.at(-1)?.packet).toMatch(/^192\.168\.0\.1[123]:30080 → 203\.0\.113\.10:/);
    }
  });

  it("with external policy Local keep the client's address on the pod's node", async () => {
    const here = await cluster.trace("external", "node/node-2:30081");
    expect(here).toBeDelivered("solo");
    expect(here.result.masqueraded).toBe(false);
    const elsewhere = await cluster.trace("external", "node/node-1:30081");
    // Where none is local, ipvs mode leads to all endpoints; the source is kept by kube-proxy, and replaced by flannel.
    expect(elsewhere).toBeDelivered("solo");
    expect(elsewhere).toPassThrough("FLANNEL-POSTRTG");
    expect(elsewhere).not.toPassThrough("KUBE-POSTROUTING");
  });

  it("are found by name from their own namespace and by full name", async () => {
    expect(await cluster.trace(clientOn("node-1"), "solo:80")).toBeDelivered("solo");
    expect(await cluster.trace(clientOn("node-1"), "solo.default.svc.cluster.local:80")).toBeDelivered("solo");
    const missing = await cluster.trace(clientOn("node-1"), "nothing:80");
    expect(missing.result.reason).toMatchObject({ code: "NXDOMAIN" });
  });
});

describe("changes", () => {
  it("a Service follows its pods: one that goes is no longer chosen, and its connections are refused", async () => {
    await cluster.delete("Pod", "default", "solo");
    expect(await cluster.trace(clientOn("node-1"), "svc/solo:web")).toBeRejected();
  });
});

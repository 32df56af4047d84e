/** Whole walks through a booted cluster: who reaches whom, by which way, and what the receiver sees. */
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
  cluster = await Cluster.create({ sources: [{ file: "walks.yaml", text: MANIFESTS }] });
});

function clientOn(node: string): string {
  const pod = cluster.store.list("Pod").find((p) => p.spec.nodeName === node && p.metadata.labels?.app === "client");
  if (pod === undefined) throw new Error(`no client on ${node}`);
  return `pod/${pod.metadata.name}`;
}

describe("pods", () => {
  it("of one node meet on the bridge, without the tunnel", async () => {
    const traced = await cluster.trace(clientOn("node-2"), "pod/solo:8080");
    expect(traced).toBeDelivered("solo");
    expect(traced).toPassThrough("cni0");
    expect(traced).not.toPassThrough("flannel.1");
  });

  it("of two nodes meet through VXLAN, with their own addresses", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "pod/solo:8080");
    expect(traced).toBeDelivered("solo");
    expect(traced).toPassThrough("flannel.1");
    expect(traced.result.masqueraded).toBe(false);
  });

  it("leave for the world outside with their node's address", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "198.51.100.1:443");
    expect(traced).toBeDelivered();
    expect(traced.result.masqueraded).toBe(true);
    expect(traced).toPassThrough("FLANNEL-POSTRTG");
  });

  it("are refused by a pod where nothing listens, with a reset", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "pod/solo:81");
    expect(traced).toBeRejected();
    expect(traced).toBeDroppedBy("NO_SOCKET");
  });

  it("on the host network have the node's address and no sandbox", async () => {
    const traced = await cluster.trace(clientOn("node-2"), "pod/on-host:80");
    expect(traced).toBeDelivered("192.168.0.11");
    expect((await cluster.trace("pod/on-host", "pod/solo:8080")).result.source.ip).toBe("192.168.0.11");
  });

  it("with a host port are reached at their node's port", async () => {
    const traced = await cluster.trace("external", "node/node-3:8088");
    expect(traced).toBeDelivered("with-host-port");
    expect(traced).toPassThrough("CNI-HOSTPORT-DNAT");
  });
});

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

  it("reach every endpoint that chance allows, and no other", async () => {
    const all = await cluster.traceAll("pod/solo", "svc/client:80");
    const names = all.map((t) => t.result.deliveredTo?.name);
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

  it("are not answered for by the world outside, nor are pods that there are not", async () => {
    const ip = cluster.store.get("Service", "default", "solo")?.spec.clusterIP ?? "";
    const echo = await cluster.trace(clientOn("node-1"), ip, { protocol: "icmp" });
    const port = await cluster.trace(clientOn("node-1"), "svc/solo:8081", { protocol: "tcp" });
    const nobody = await cluster.trace("pod/solo", "10.244.200.1");
    for (const { result } of [echo, port, nobody]) {
      expect(result).toMatchObject({ verdict: "dropped", reason: { code: "SKB_DROP_REASON_IP_INNOROUTES" } });
      expect(result.hops.at(-1)).toMatchObject({ node: "router", step: "drop" });
    }
    expect(echo.result.hops.at(-2)?.action).toMatch(
      /^blackhole 10\.96\.0\.0\/12 +addresses of the cluster, which nobody outside has$/,
    );
    expect(cluster.exec("solo", ["ping", "-c", "1", ip]).stdout).toContain("1 packets transmitted, 0 received");
    expect((await cluster.trace("external", `${ip}:80`)).result).toMatchObject({
      verdict: "dropped",
      reason: { code: "EHOSTUNREACH" },
    });
  });

  it("without endpoints refuse, and say what is missing", async () => {
    const traced = await cluster.trace("pod/solo", "svc/nobody:80");
    expect(traced).toBeRejected();
    expect(traced).toBeDroppedBy("KUBE-SERVICES");
    expect(traced.result.reason?.advice).toBe("a ready pod that the selector of Service default/nobody matches");
  });

  it("are reached from outside by a node port of any node, masqueraded", async () => {
    for (const node of ["node-1", "node-2", "node-3"]) {
      const traced = await cluster.trace("external", `node/${node}:30080`);
      expect(traced).toBeDelivered("solo");
      expect(traced.result.masqueraded).toBe(true);
      expect(traced.result.reply.hops.at(-1)?.packet).toMatch(/^192\.168\.0\.1[123]:30080 → 203\.0\.113\.10:/);
    }
  });

  it("with external policy Local keep the client's address on the pod's node, and drop elsewhere", async () => {
    const here = await cluster.trace("external", "node/node-2:30081");
    expect(here).toBeDelivered("solo");
    expect(here.result.masqueraded).toBe(false);
    const elsewhere = await cluster.trace("external", "node/node-1:30081");
    expect(elsewhere.result.verdict).toBe("dropped");
    expect(elsewhere).toBeDroppedBy("KUBE-EXTERNAL-SERVICES");
  });

  it("are found by name from their own namespace and by full name", async () => {
    expect(await cluster.trace(clientOn("node-1"), "solo:80")).toBeDelivered("solo");
    expect(await cluster.trace(clientOn("node-1"), "solo.default.svc.cluster.local:80")).toBeDelivered("solo");
    const missing = await cluster.trace(clientOn("node-1"), "nothing:80");
    expect(missing.result.reason).toMatchObject({ code: "NXDOMAIN" });
  });
});

describe("the path's limits", () => {
  it("an echo larger than the pod network with don't-fragment is answered with the MTU", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "pod/solo", {
      protocol: "icmp",
      size: 2000,
      dontFragment: true,
    });
    expect(traced.result.verdict).toBe("dropped");
    expect(traced).toBeDroppedBy("PKT_TOO_BIG");
  });

  it("without it, the echo goes in fragments and comes back", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "pod/solo", { protocol: "icmp", size: 4000 });
    expect(traced).toBeDelivered("solo");
  });

  it("a TTL of 2 ends on the second node", async () => {
    const traced = await cluster.trace(clientOn("node-1"), "pod/solo", { protocol: "icmp", ttl: 2 });
    expect(traced.result.verdict).toBe("dropped");
    expect(traced.result.hops.at(-1)).toMatchObject({ node: "node-2", step: "drop" });
  });
});

describe("changes", () => {
  it("a Service follows its pods: one that goes is no longer chosen, and its connections are refused", async () => {
    await cluster.delete("Pod", "default", "solo");
    expect(await cluster.trace(clientOn("node-1"), "svc/solo:web")).toBeRejected();
  });
});

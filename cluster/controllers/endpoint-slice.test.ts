import { describe, expect, it } from "vitest";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { Store } from "../store/store.ts";
import { template, testCluster } from "./testing.ts";

const web = (replicas: number, port = 8080, name = "web"): string =>
  `apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: ${name}}\nspec:\n  replicas: ${replicas}\n  serviceName: web\n  selector: {matchLabels: {app: web, set: ${name}}}\n${template(`app: web, set: ${name}`).replace("8080", String(port))}---\n`;
const service = (spec: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {team: x}}\nspec: {${spec}}\n---\n`;
const WEB =
  "selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}, {name: https, port: 443, targetPort: tls}]";

const show = (store: Store): string[] =>
  store.list("EndpointSlice").map((s: EndpointSlice) => {
    const ports = (s.ports ?? []).map((p) => `${p.name}=${p.port}`).join(" ");
    const endpoints = s.endpoints.map((e) => {
      const { ready, serving, terminating } = e.conditions ?? {};
      return `${e.targetRef?.name ?? e.addresses[0]}@${e.nodeName}:${[ready && "ready", serving && "serving", terminating && "terminating"].filter(Boolean).join("+")}`;
    });
    return `${ports} | ${endpoints.join(" ")}`;
  });

describe("EndpointSlices", () => {
  it("hold the pods that a service selects, with named ports resolved and unknown names left out", async () => {
    const { store } = await testCluster(["n1", "n2"], web(2) + service(WEB));
    expect(show(store)).toEqual(["http=8080 | web-0@n1:ready+serving web-1@n2:ready+serving"]);
    const slice = store.list("EndpointSlice")[0];
    expect(slice?.metadata.labels).toEqual({
      team: "x",
      "kubernetes.io/service-name": "web",
      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    expect(slice?.metadata.name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    expect(slice?.endpoints[0]).toMatchObject({
      hostname: "web-0",
      addresses: ["10.244.1.1"],
      targetRef: { kind: "Pod", namespace: "default", name: "web-0" },
    });
  });

  it("are split where pods mean different numbers by a name", async () => {
    const { store } = await testCluster(["n1"], web(1) + web(1, 9090, "alt") + service(WEB));
    expect(show(store).sort()).toEqual(["http=8080 | web-0@n1:ready+serving", "http=9090 | alt-0@n1:ready+serving"]);
  });

  it("hold a hundred endpoints each", async () => {
    const { store } = await testCluster(["n1", "n2", "n3"], web(250) + service(WEB));
    expect(
      store
        .list("EndpointSlice")
        .map((s) => s.endpoints.length)
        .sort((a, b) => a - b),
    ).toEqual([50, 100, 100]);
  });

  it("follow pods that change, stop and go, and services that change their mind", async () => {
    const cluster = await testCluster(["n1"], web(2) + service(WEB));
    const [first] = cluster.store.list("Pod");
    if (first === undefined) throw new Error("no pod");
    await cluster.store.update({
      ...first,
      metadata: { ...first.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" },
    });
    await cluster.manager.settle();
    expect(show(cluster.store)).toEqual(["http=8080 | web-0@n1:serving+terminating web-1@n1:ready+serving"]);
    await cluster.store.delete("Pod", "default", "web-0");
    await cluster.manager.settle();
    expect(show(cluster.store)[0]).toContain("web-0@n1:ready+serving");
    await cluster.apply(service("selector: {app: other}, ports: [{port: 80}]"));
    expect(show(cluster.store)).toEqual([]);
    await cluster.apply(service(WEB));
    await cluster.store.delete("Service", "default", "web");
    await cluster.manager.settle();
    expect(show(cluster.store)).toEqual([]);
  });

  it("say that a pod is not ready, unless the service publishes it all the same", async () => {
    const pods = web(1).replace(
      "labels: {app: web, set: web}}\n    spec",
      "labels: {app: web, set: web}, annotations: {unready: 'true'}}\n    spec",
    );
    expect(show((await testCluster(["n1"], pods + service(WEB))).store)).toEqual(["http=8080 | web-0@n1:"]);
    expect(show((await testCluster(["n1"], pods + service(`publishNotReadyAddresses: true, ${WEB}`))).store)).toEqual([
      "http=8080 | web-0@n1:ready",
    ]);
  });

  it("mirror Endpoints of a service without a selector, and leave slices of others alone", async () => {
    const text = `${service("ports: [{port: 80}]")}apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets:\n- addresses: [{ip: 192.0.2.1}]\n  notReadyAddresses: [{ip: 192.0.2.2}]\n  ports: [{port: 8080}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: mine, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [192.0.2.9], conditions: {ready: true, serving: true}}]\nports: [{name: '', port: 1}]\n`;
    expect(show((await testCluster([], text)).store).sort()).toEqual([
      "=1 | 192.0.2.9@undefined:ready+serving",
      "=8080 | 192.0.2.1@undefined:ready+serving 192.0.2.2@undefined:",
    ]);
  });

  it("carry hints where the service wants its traffic close", async () => {
    const { store } = await testCluster(
      ["n1=za", "n2=zb"],
      web(2) + service(`trafficDistribution: PreferClose, ${WEB}`),
    );
    expect(store.list("EndpointSlice")[0]?.endpoints.map((e) => [e.zone, e.hints?.forZones?.[0]?.name])).toEqual([
      ["za", "za"],
      ["zb", "zb"],
    ]);
  });
});

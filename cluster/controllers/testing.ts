/** For tests of the control plane: a small cluster of controllers, with a kubelet that wires pods by saying so. */
import { type KubeObject, splitKey } from "../api/meta.ts";
import type { Node } from "../api/node.ts";
import type { Pod } from "../api/pod.ts";
import { type Controller, Manager } from "../client/manager.ts";
import { loadManifests } from "../manifests/load.ts";
import type { Store } from "../store/store.ts";
import { MemoryStore } from "../store/store-memory.ts";
import type { NodeMaskSizes } from "./node-ipam.ts";
import type { ServiceSettings } from "./service.ts";
import { standardControllers } from "./standard.ts";

export type TestCluster = { readonly store: Store; readonly manager: Manager; apply(yaml: string): Promise<void> };

export async function testCluster(
  nodes: readonly string[],
  yaml: string = "",
  settings: Partial<ServiceSettings> & {
    readonly clusterCidrs?: readonly string[];
    readonly nodeMaskSizes?: NodeMaskSizes;
  } = {},
): Promise<TestCluster> {
  const store = new MemoryStore({ now: () => 0 });
  const { clusterCidrs = ["10.244.0.0/16"], serviceCidrs = ["10.96.0.0/16"], loadBalancerCidrs, ...rest } = settings;
  const standard = standardControllers(store, {
    clusterCidr: clusterCidrs,
    serviceCidr: serviceCidrs,
    seed: 1,
    ...(loadBalancerCidrs === undefined ? {} : { loadBalancerCidr: loadBalancerCidrs }),
    ...rest,
  });
  const manager = new Manager(store, [...standard, readyKubelet(store)]);
  for (const name of nodes) await store.create(node(name));
  const cluster: TestCluster = {
    store,
    manager,
    apply: async (text) => {
      for (const { object } of loadManifests([{ file: "test.yaml", text }]).objects) await upsert(store, object);
      await manager.settle();
    },
  };
  await cluster.apply(yaml);
  return cluster;
}

/** `name`, `name=zone` */
function node(text: string): Node {
  const [name = "", zone] = text.split("=");
  const labels = {
    "kubernetes.io/hostname": name,
    ...(zone === undefined ? {} : { "topology.kubernetes.io/zone": zone }),
  };
  return { apiVersion: "v1", kind: "Node", metadata: { name, labels } };
}

async function upsert(store: Store, object: KubeObject): Promise<void> {
  if (store.get(object.kind, object.metadata.namespace ?? "", object.metadata.name) === undefined)
    await store.create(object);
  else await store.update(object);
}

function readyKubelet(store: Store): Controller {
  let next = 1;
  return {
    name: "kubelet",
    kinds: ["Pod"],
    keys: ({ object, type }) => {
      const pod = object as Pod;
      return type === "DELETED" || pod.spec.nodeName === undefined || pod.status?.podIP !== undefined
        ? []
        : [`${pod.metadata.namespace}/${pod.metadata.name}`];
    },
    sync: async (keys) => {
      for (const key of keys) {
        const { namespace, name } = splitKey(key);
        const pod = store.get("Pod", namespace, name);
        if (pod === undefined) continue;
        const podIP = `10.244.1.${next++}`;
        const ready = pod.metadata.annotations?.unready === undefined;
        await store.update({
          ...pod,
          status: {
            ...pod.status,
            phase: "Running",
            podIP,
            podIPs: [{ ip: podIP }],
            conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
          },
        });
      }
    },
  };
}

/** A pod template's part of a manifest, indented for `template:`. */
export function template(labels: string, more: string = ""): string {
  return `  template:
    metadata: {labels: {${labels}}}
    spec:
      containers:
      - name: c
        image: nginx
        ports: [{name: web, containerPort: 8080}]
${more}`;
}

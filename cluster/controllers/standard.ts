/** The controllers that every cluster runs, in the order in which they are asked. */
import { hashText } from "../../dataplane/sim/random.ts";
import type { Controller } from "../client/manager.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import type { Store } from "../store/store.ts";
import { DaemonSetController } from "./daemon-set.ts";
import { DeploymentController } from "./deployment.ts";
import { EndpointSliceController } from "./endpoint-slice.ts";
import { GarbageController } from "./garbage.ts";
import { JobController } from "./job.ts";
import { NamespaceController } from "./namespace.ts";
import { NodeIpamController, type NodeMaskSizes } from "./node-ipam.ts";
import { ReplicaSetController } from "./replica-set.ts";
import { ServiceController } from "./service.ts";
import { StatefulSetController } from "./stateful-set.ts";

export type ControllerSettings = {
  /** One CIDR, or one of each family. */
  readonly serviceCidr: string | readonly string[];
  readonly clusterCidr: string | readonly string[];
  /** Names and addresses that are drawn depend on it, and on the objects they are for. */
  readonly seed: number;
  readonly nodeMaskSizes?: NodeMaskSizes;
  readonly nodePortRange?: readonly [first: number, last: number];
  readonly loadBalancerCidr?: string | readonly string[];
};

/** What names and addresses are drawn from, besides the object's own name. */
export function saltOf(seed: number): number {
  return hashText(`names ${seed}`);
}

/** Throws ClusterError for settings that cannot be. */
export function standardControllers(store: Store, settings: ControllerSettings): readonly Controller[] {
  const { seed, nodeMaskSizes, nodePortRange, loadBalancerCidr } = settings;
  const salt = saltOf(seed);
  return [
    new NamespaceController(store),
    new NodeIpamController(store, {
      clusterCidrs: listOf(settings.clusterCidr),
      ...(nodeMaskSizes === undefined ? {} : { nodeMaskSizes }),
    }),
    new ServiceController(store, salt, {
      serviceCidrs: listOf(settings.serviceCidr),
      ...(nodePortRange === undefined ? {} : { nodePortRange }),
      ...(loadBalancerCidr === undefined ? {} : { loadBalancerCidrs: listOf(loadBalancerCidr) }),
    }),
    new DeploymentController(store),
    new ReplicaSetController(store, salt),
    new ReplicaSetController(store, salt, "ReplicationController"),
    new StatefulSetController(store),
    new JobController(store, salt),
    new DaemonSetController(store, salt),
    new Scheduler(store),
    new EndpointSliceController(store, salt),
    new GarbageController(store),
  ];
}

function listOf(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

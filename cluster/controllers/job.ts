/** Job: its pods, once. They run for good here: nothing exits in an emulated pod. */
import { splitKey } from "../api/meta.ts";
import { isReady } from "../api/pod.ts";
import type { Job } from "../api/workloads.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { generatedName, nameSuffix } from "./names.ts";
import { podFromTemplate, workloadKeys } from "./pods.ts";

export class JobController implements Controller {
  readonly name: string = "job";
  readonly kinds: readonly Kind[] = ["Job", "Pod"];
  readonly #store: Store;
  readonly #salt: number;

  constructor(store: Store, salt: number) {
    this.#store = store;
    this.#salt = salt;
  }

  keys(event: WatchEvent): readonly string[] {
    return event.object.kind === "Pod" && event.object.metadata.ownerReferences === undefined
      ? []
      : workloadKeys(this.#store, "Job", event);
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const job = this.#store.get("Job", namespace, name);
      if (job !== undefined) await this.#sync(job);
    }
  }

  async #sync(job: Job): Promise<void> {
    const { uid = "", name, namespace = "default" } = job.metadata;
    const { parallelism = 1, completions, suspend, template } = job.spec;
    const want = suspend === true ? 0 : Math.min(parallelism, completions ?? parallelism);
    const pods = this.#store.list("Pod", { owner: uid });
    const labels = {
      "batch.kubernetes.io/job-name": name,
      "job-name": name,
      "batch.kubernetes.io/controller-uid": uid,
      "controller-uid": uid,
    };
    for (let i = 0, missing = want - pods.length; missing > 0; i++) {
      const podName = generatedName(name, nameSuffix(this.#salt, `job ${namespace}/${name} ${i}`));
      if (this.#store.get("Pod", namespace, podName) !== undefined) continue;
      await this.#store.create(podFromTemplate(job, template, podName, labels));
      missing--;
    }
    await this.#store.update({
      ...job,
      status: { active: Math.max(want, pods.length), ready: pods.filter(isReady).length },
    });
  }
}

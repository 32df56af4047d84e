/**
 * The environment of a container, as the kubelet resolves it: Service links, then envFrom, then env with $(NAME)
 * expanded; later ones win. What refers to something that is not there is left out and named.
 */
import { nodeIps } from "../api/node.ts";
import type { Container, EnvVar, Pod } from "../api/pod.ts";
import { podIps } from "../api/pod.ts";
import { clusterIps, type Service } from "../api/service.ts";
import type { Store } from "../store/store.ts";

export type Environment = { readonly vars: Readonly<Record<string, string>>; readonly missing: readonly string[] };

export function environmentOf(pod: Pod, container: Container, store: Store): Environment {
  return new Resolver(pod, container, store).resolve();
}

class Resolver {
  readonly #pod: Pod;
  readonly #container: Container;
  readonly #store: Store;
  readonly #namespace: string;
  readonly #vars: Record<string, string> = {};
  readonly #missing: string[] = [];

  constructor(pod: Pod, container: Container, store: Store) {
    this.#pod = pod;
    this.#container = container;
    this.#store = store;
    this.#namespace = pod.metadata.namespace ?? "default";
  }

  resolve(): Environment {
    Object.assign(this.#vars, this.#serviceLinks());
    for (const source of this.#container.envFrom ?? []) {
      const { prefix = "", configMapRef, secretRef } = source;
      const data =
        configMapRef !== undefined
          ? this.#configMap(configMapRef)
          : secretRef !== undefined
            ? this.#secret(secretRef)
            : {};
      for (const [key, value] of Object.entries(data)) this.#vars[prefix + key] = value;
    }
    for (const variable of this.#container.env ?? []) {
      const value = this.#valueOf(variable);
      if (value !== undefined) this.#vars[variable.name] = value;
    }
    return { vars: this.#vars, missing: this.#missing };
  }

  /** Services of the pod's namespace, and the API server's; with enableServiceLinks off only the latter. */
  #serviceLinks(): Record<string, string> {
    const out: Record<string, string> = {};
    const api = this.#store.get("Service", "default", "kubernetes");
    const own =
      this.#pod.spec.enableServiceLinks === false ? [] : this.#store.list("Service", { namespace: this.#namespace });
    for (const service of [...(api === undefined ? [] : [api]), ...own]) Object.assign(out, serviceVariables(service));
    return out;
  }

  #valueOf({ name, value, valueFrom }: EnvVar): string | undefined {
    if (valueFrom === undefined) return expand(value ?? "", this.#vars);
    const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
    if (fieldRef !== undefined) return this.#field(fieldRef.fieldPath, name);
    if (resourceFieldRef !== undefined) {
      const [group, ...rest] = resourceFieldRef.resource.split(".");
      const amounts = group === "limits" ? this.#container.resources?.limits : this.#container.resources?.requests;
      return String(amounts?.[rest.join(".")] ?? 0);
    }
    const ref = configMapKeyRef ?? secretKeyRef;
    if (ref === undefined) return "";
    const data = configMapKeyRef !== undefined ? this.#configMap(ref) : this.#secret(ref);
    const found = data[ref.key];
    if (found === undefined && ref.optional !== true)
      this.#miss(
        `env ${name}: ${configMapKeyRef !== undefined ? "ConfigMap" : "Secret"} ${ref.name} has no key ${ref.key}`,
      );
    return found;
  }

  #field(path: string, name: string): string | undefined {
    const { metadata, spec, status } = this.#pod;
    const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
    if (keyed !== null) return metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2] ?? ""] ?? "";
    const node = this.#store.get("Node", "", spec.nodeName ?? "");
    const hostIps = node === undefined ? [] : nodeIps(node);
    switch (path) {
      case "metadata.name":
        return metadata.name;
      case "metadata.namespace":
        return this.#namespace;
      case "metadata.uid":
        return metadata.uid ?? "";
      case "spec.nodeName":
        return spec.nodeName ?? "";
      case "spec.serviceAccountName":
        return spec.serviceAccountName ?? "default";
      case "status.podIP":
        return podIps(this.#pod)[0] ?? "";
      case "status.podIPs":
        return podIps(this.#pod).join(",");
      case "status.hostIP":
        return status?.hostIP ?? hostIps[0] ?? "";
      case "status.hostIPs":
        return hostIps.join(",");
      default:
        this.#miss(`env ${name}: fieldPath ${path} is not known`);
        return undefined;
    }
  }

  #configMap(ref: { readonly name: string; readonly optional?: boolean }): Readonly<Record<string, string>> {
    const found = this.#store.get("ConfigMap", this.#namespace, ref.name);
    if (found === undefined && ref.optional !== true)
      this.#miss(`ConfigMap ${this.#namespace}/${ref.name} does not exist`);
    return found?.data ?? {};
  }

  #secret(ref: { readonly name: string; readonly optional?: boolean }): Readonly<Record<string, string>> {
    const found = this.#store.get("Secret", this.#namespace, ref.name);
    if (found === undefined && ref.optional !== true)
      this.#miss(`Secret ${this.#namespace}/${ref.name} does not exist`);
    const decoded = Object.entries(found?.data ?? {}).map(([k, v]) => [k, Buffer.from(v, "base64").toString("utf8")]);
    return { ...Object.fromEntries(decoded), ...found?.stringData };
  }

  #miss(text: string): void {
    if (!this.#missing.includes(text)) this.#missing.push(text);
  }
}

/** BACKEND_SERVICE_HOST and its relatives, the ones of Docker's links included. */
export function serviceVariables(service: Service): Record<string, string> {
  const ip = clusterIps(service)[0];
  const ports = service.spec.ports ?? [];
  const first = ports[0];
  if (ip === undefined || first === undefined) return {};
  const name = service.metadata.name.toUpperCase().replaceAll("-", "_");
  const out: Record<string, string> = { [`${name}_SERVICE_HOST`]: ip, [`${name}_SERVICE_PORT`]: String(first.port) };
  for (const p of ports)
    if (p.name !== undefined && p.name !== "")
      out[`${name}_SERVICE_PORT_${p.name.toUpperCase().replaceAll("-", "_")}`] = String(p.port);
  for (const [i, p] of ports.entries()) {
    const protocol = (p.protocol ?? "TCP").toLowerCase();
    const url = `${protocol}://${ip.includes(":") ? `[${ip}]` : ip}:${p.port}`;
    const link = `${name}_PORT_${p.port}_${protocol.toUpperCase()}`;
    if (i === 0) out[`${name}_PORT`] = url;
    out[link] = url;
    out[`${link}_PROTO`] = protocol;
    out[`${link}_PORT`] = String(p.port);
    out[`${link}_ADDR`] = ip;
  }
  return out;
}

/** $(NAME) where NAME is known; $$ stands for one dollar that starts nothing. */
export function expand(text: string, vars: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$|\(([^)]*)\))/g, (whole, what: string, name: string | undefined) =>
    what === "$" ? "$" : (vars[name ?? ""] ?? whole),
  );
}

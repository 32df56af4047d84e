/** A requirement of the CNI specification, and how to see whether a directory of plugins meets it. */
import type { JsonObject } from "../../plugins/cni/types.ts";
import type { Lab } from "./lab.ts";

export type Case = {
  readonly title: string;
  /** Section of the specification (1.1.0), or "reference" for options that only the reference plugins document. */
  readonly section: string;
  /** The executables that it needs; they are tags to skip by, too. */
  readonly plugins: readonly string[];
  readonly tags?: readonly string[];
  /** Commands that it looks with, which the plugins need too. */
  readonly commands?: readonly string[];
  /** Bridges of the kernel must have VLANs. */
  readonly needsVlans?: boolean;
  readonly run: (lab: Lab) => Promise<void>;
};

export const VERSIONS: readonly string[] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

export function hostLocal(lab: Lab, more: JsonObject = {}): JsonObject {
  return { type: "host-local", dataDir: `${lab.dir}/leases`, ranges: [[{ subnet: "10.1.0.0/24" }]], ...more };
}

export function bridge(lab: Lab, more: JsonObject = {}): JsonObject {
  return {
    cniVersion: "1.1.0",
    name: "net",
    type: "bridge",
    bridge: "br0",
    isGateway: true,
    ipam: hostLocal(lab),
    ...more,
  };
}

/** What a plugin that supports 1.1.0 is asked in; others in the newest that they have. */
export function newest(lab: Lab, plugin: string): string {
  const { supportedVersions } = lab.good(plugin, "VERSION", { cniVersion: "1.0.0" });
  const list = Array.isArray(supportedVersions) ? supportedVersions : [];
  return [...VERSIONS].reverse().find((version) => list.includes(version)) ?? "0.3.1";
}

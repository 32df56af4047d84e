/** The plugins of the suite by name: what the executable is linked as and what a configuration's `type` says. */
import type { Plugin } from "./cni/types.ts";
import { hostLocal } from "./ipam/host-local.ts";
import { bridge } from "./main/bridge.ts";
import { loopback } from "./main/loopback.ts";
import { flannel } from "./meta/flannel.ts";
import { portmap } from "./meta/portmap.ts";

const ALL: readonly Plugin[] = [bridge, loopback, hostLocal, flannel, portmap];

export const PLUGINS: ReadonlyMap<string, Plugin> = new Map(ALL.map((plugin) => [plugin.name, plugin]));

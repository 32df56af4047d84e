/** The plugins of the suite by name: what the executable is linked as and what a configuration's `type` says. */
import type { PluginSet } from "./cni/types.ts";
import { hostLocal } from "./ipam/host-local.ts";
import { staticIpam } from "./ipam/static.ts";
import { bridge } from "./main/bridge.ts";
import { loopback } from "./main/loopback.ts";
import { ptp } from "./main/ptp.ts";
import { bandwidth } from "./meta/bandwidth.ts";
import { firewall } from "./meta/firewall.ts";
import { flannel } from "./meta/flannel.ts";
import { portmap } from "./meta/portmap.ts";
import { tuning } from "./meta/tuning.ts";

/** In no order that matters; the key is the plugin's own name. */
export const PLUGINS: PluginSet = {
  bridge,
  ptp,
  loopback,
  "host-local": hostLocal,
  static: staticIpam,
  flannel,
  portmap,
  bandwidth,
  firewall,
  tuning,
};

/** Names and MAC addresses that chance decides. */
import { formatMac } from "../../dataplane/wire/mac-addr.ts";
import type { PluginHost } from "../cni/host.ts";
import { hostPrefix } from "./host-end.ts";

export type Names = {
  readonly hostIfname: string;
  readonly hostMac: string;
  readonly containerMac: string;
  readonly bridgeMac: string;
};

function randomMac(random: () => number): string {
  const high = Math.floor(random() * 0x100_0000);
  const low = Math.floor(random() * 0x100_0000);
  // locally administered, not a group
  const first = ((high >>> 16) & 0xfc) | 0x02;
  return formatMac((first * 0x1_0000 + (high & 0xffff)) * 0x100_0000 + low);
}

/** A name that is taken is found out by applying, and drawn again. */
export function drawNames(host: PluginHost, network: string): Names {
  const random = (): number => host.random();
  const hostIfname = `${hostPrefix(network)}${Math.floor(random() * 0x100_0000)
    .toString(16)
    .padStart(6, "0")}`;
  return { hostIfname, hostMac: randomMac(random), containerMac: randomMac(random), bridgeMac: randomMac(random) };
}

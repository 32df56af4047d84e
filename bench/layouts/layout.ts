/** What a forwarding measurement needs of a layout: who sends, who receives, and where kube-proxy runs. */
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import type { Host } from "../../dataplane/host/host.ts";
import type { World } from "../../dataplane/host/world.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";
import type { Mac } from "../../dataplane/wire/mac-addr.ts";

export type Layout = {
  readonly world: World;
  readonly nodes: readonly Host[];
  readonly client: NetNs;
  readonly server: NetNs;
  readonly clientAddress: Ipv4Addr;
  /** Two addresses of the server: the endpoints of every Service. */
  readonly endpoints: readonly [string, string];
  /** The client's interface, and the MAC of its gateway. */
  readonly link: NetDev;
  readonly gateway: Mac;
};

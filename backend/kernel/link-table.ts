/** Links of the kernel by name: one, all, or the index that other messages need. */
import { type LinkInfo, NetlinkError, type NetnsRef } from "../../dataplane/netns/rtnl-ops.ts";
import { parseLink, type RawLink, RTM_GETLINK, writeGetLink } from "./link-message.ts";
import type { Namespaces } from "./namespaces.ts";
import type { Received } from "./netlink-socket.ts";

export class LinkTable {
  readonly #spaces: Namespaces;

  constructor(spaces: Namespaces) {
    this.#spaces = spaces;
  }

  find(netns: NetnsRef, name: string): RawLink | undefined {
    return this.#get(netns, 0, name);
  }

  /** Throws ENODEV. */
  need(netns: NetnsRef, name: string): RawLink {
    const link = this.find(netns, name);
    if (link === undefined) throw new NetlinkError("ENODEV", `link ${name} does not exist in ${netns}`);
    return link;
  }

  #get(netns: NetnsRef, index: number, name?: string): RawLink | undefined {
    let received: readonly Received[];
    try {
      const what = `link ${name ?? index} in ${netns}`;
      received = this.#spaces.socket(netns).request(RTM_GETLINK, 0, (out) => writeGetLink(out, index, name), what);
    } catch (error) {
      if (error instanceof NetlinkError && error.code === "ENODEV") return undefined;
      // a name that no link can have
      if (error instanceof NetlinkError && name !== undefined && /^(?:ERANGE|EINVAL)$/.test(error.code))
        return undefined;
      throw error;
    }
    const [first] = received;
    return first === undefined ? undefined : parseLink(first.data);
  }

  all(netns: NetnsRef): readonly RawLink[] {
    return this.#spaces
      .socket(netns)
      .dump(RTM_GETLINK, (out) => writeGetLink(out, 0), `links of ${netns}`)
      .map((message) => parseLink(message.data));
  }

  /** By index, for messages that name devices so. */
  names(netns: NetnsRef): ReadonlyMap<number, string> {
    return new Map(this.all(netns).map((link) => [link.ifindex, link.name]));
  }

  info(netns: NetnsRef, link: RawLink, names?: ReadonlyMap<number, string>): LinkInfo {
    const { masterIndex, learning: _, ...rest } = link;
    const master = masterIndex === 0 ? null : (names?.get(masterIndex) ?? this.#get(netns, masterIndex)?.name ?? null);
    return { ...rest, master };
  }
}

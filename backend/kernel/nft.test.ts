/** nftables transactions on the kernel, in a throw-away namespace. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NftApply } from "../../dataplane/netns/rtnl-ops.ts";
import { missing } from "../../test/support/needs.ts";
import { type ThrowAway, throwAwayKernel } from "./throw-away.ts";

const reason = missing("root", "netns", "nft");

describe("nft.apply on the kernel", () => {
  let kernel: ThrowAway | undefined;
  beforeEach(async ({ skip }) => {
    if (reason !== null) skip(reason);
    kernel = await throwAwayKernel();
  });
  afterEach(async () => {
    await kernel?.dispose();
    kernel = undefined;
  });

  const nft = (text: string): NftApply => ({ op: "nft.apply", netns: "host", text });
  const backendOf = (k: ThrowAway | undefined): ThrowAway["backend"] => {
    if (k === undefined) throw new Error("no kernel");
    return k.backend;
  };

  it("lists what was applied, one table too, with handles where they are asked for", async () => {
    const backend = backendOf(kernel);
    await backend.apply([nft("add table ip a\nadd chain ip a c\nadd rule ip a c ip daddr 10.0.0.1 counter accept\n")]);
    expect(await backend.nftList("host")).toBe(
      "table ip a {\n\tchain c {\n\t\tip daddr 10.0.0.1 counter packets 0 bytes 0 accept\n\t}\n}\n",
    );
    expect(await backend.nftList("host", { table: "ip a", stateless: true })).toContain("counter accept");
    expect(await backend.nftList("host", { handles: true })).toContain("accept # handle 2");
    expect(await backend.nftList("host", { table: "ip b" })).toBe("");
  });

  it("tells the line of an error and changes nothing", async () => {
    const backend = backendOf(kernel);
    const error = await backend.apply([nft("add table ip a\nadd rule ip a none accept\n")]).catch((e: Error) => e);
    expect(error).toMatchObject({ name: "NetlinkError", code: "EINVAL", message: expect.stringContaining(":2:") });
    expect(await backend.nftList("host")).toBe("");
  });

  it("takes back what it did where a later operation fails, and leaves other tables alone", async () => {
    const backend = backendOf(kernel);
    await backend.apply([nft("table ip a { chain c { accept; }; }\ntable ip other { chain x { drop; }; }\n")]);
    const before = await backend.nftList("host");
    await expect(
      backend.apply([
        nft("delete table ip a\nadd table ip new\nadd table inet a\n"),
        { op: "addr.add", netns: "host", dev: "none0", address: "10.0.0.1/24" },
      ]),
    ).rejects.toMatchObject({ code: "ENODEV" });
    expect((await backend.nftList("host")).split(/(?=^table)/m).sort()).toEqual(before.split(/(?=^table)/m).sort());
  });
});

import { describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import { aliasOp, hostAlias, hostPrefix, removeStaleEnds } from "./host-end.ts";

const owner = (containerId: string, ifname = "eth0") => ({ containerId, ifname });

describe("the host's end of a veth", () => {
  it("tells its attachment, in fewer octets than the kernel refuses", () => {
    expect(hostAlias("net", owner("c1"))).toBe("podwire:net:c1:eth0");
    const long = hostAlias("n".repeat(300), owner("c".repeat(300), "a".repeat(15)));
    expect(long.length).toBeLessThan(256);
    expect(long).not.toBe(hostAlias("n".repeat(300), owner("c".repeat(301), "a".repeat(15))));
  });

  it("goes with its attachment, and no other network's or stranger's does", async () => {
    const backend = new FakeBackend();
    const add = async (name: string, alias?: readonly [string, ReturnType<typeof owner>]) => {
      const netns = await backend.addNetns(`of-${name}`);
      const link = { op: "link.add", netns, name: "eth0", kind: "veth", peer: { name, netns: "host" } } as const;
      await backend.apply(alias === undefined ? [link] : [link, aliasOp(...alias, name)]);
    };
    await add("vethlive", ["net", owner("c1")]);
    await add("vethother", ["net", owner("c1", "eth1")]);
    await add("vethdead", ["net", owner("c2")]);
    await add("vethnet2", ["net2", owner("c2")]);
    await add("vethstranger");
    await add(`${hostPrefix("net")}000001`);
    await add(`${hostPrefix("net2")}000001`);
    await removeStaleEnds(backend, "net", [owner("c1")]);
    const left = (await backend.links("host")).filter((l) => l.kind === "veth").map((l) => l.name);
    expect(left).toEqual(["vethlive", "vethnet2", "vethstranger", `${hostPrefix("net2")}000001`]);
  });
});

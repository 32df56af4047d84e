import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { type ThrowAway, throwAwayKernel } from "./throw-away.ts";

const reason = missing("root", "netns", "nsenter", "bash");

describe("forgetting connections", () => {
  let kernel: ThrowAway;
  beforeEach(async () => {
    if (reason === null) kernel = await throwAwayKernel();
  });
  afterEach(async () => {
    if (reason === null) await kernel.dispose();
  });

  const inHost = (script: string): string =>
    spawnSync("nsenter", [`--net=${kernel.host}`, "bash", "-c", script], { encoding: "utf8" }).stdout;
  const ports = (): string[] =>
    inHost("cat /proc/thread-self/net/nf_conntrack")
      .split("\n")
      .filter((line) => line.includes(" udp "))
      .map((line) => /dport=(\d+)/.exec(line)?.[1] ?? "")
      .sort();

  it("deletes those to a port and leaves the others", async ({ skip }) => {
    skip(reason !== null, reason ?? "");
    await kernel.backend.apply([
      { op: "link.set", netns: "host", name: "lo", up: true },
      {
        op: "iptables.restore",
        netns: "host",
        family: "ipv4",
        noflush: true,
        text: "*filter\n-A OUTPUT -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n",
      },
    ]);
    inHost("for port in 5353 5354; do echo x >/dev/udp/127.0.0.1/$port; done");
    skip(ports().length === 0, "needs connections in /proc/net/nf_conntrack");
    expect(ports()).toEqual(["5353", "5354"]);
    const flush = { op: "conntrack.flush", netns: "host", family: "ipv4", protocol: "udp", dstPort: 5353 } as const;
    // Nobody answered, so the reply would come from where the question went.
    await kernel.backend.apply([{ ...flush, dst: "127.0.0.2" }]);
    await kernel.backend.apply([{ ...flush, dst: "127.0.0.1", except: ["127.0.0.1:5353"] }]);
    expect(ports()).toEqual(["5353", "5354"]);
    await kernel.backend.apply([{ ...flush, dst: "127.0.0.1", except: ["127.0.0.1:5354"] }]);
    expect(ports()).toEqual(["5354"]);
    await kernel.backend.apply([flush]);
  });
});

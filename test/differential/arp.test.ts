import { describe, it } from "vitest";
import { arpFrame, BROADCAST } from "./frames.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;
const ask = (tpa: string, fields: { spa?: string; to?: string; op?: number; tha?: string } = {}): Uint8Array =>
  arpFrame({ sha: A.mac, spa: A.address, tpa, ...fields });

describe("ARP as Linux does it", () => {
  it("answers for the gateway, and a neighbour on the bridge answers for itself", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await lab.send("a", ask("10.244.1.1"));
        await lab.wait(10);
        await lab.send("a", ask("10.244.1.3"));
        await lab.wait(10);
        await lab.send("a", ask("10.244.1.1", { to: GATEWAY_MAC["node-1"] }));
        await lab.wait(10);
      },
      { atLeast: 20 },
    ));

  it("answers for every address of the host, on whichever interface it is asked", (context) =>
    sameAsLinux(context, async (lab) => {
      for (const address of ["10.244.1.0", "192.168.0.11", "127.0.0.1"]) {
        await lab.send("a", ask(address));
        await lab.wait(10);
      }
    }));

  it("does not answer for addresses elsewhere, the unknown, or itself", (context) =>
    sameAsLinux(context, async (lab) => {
      for (const address of ["10.244.2.2", "10.244.1.77", A.address, "8.8.8.8"]) {
        await lab.send("a", ask(address));
        await lab.wait(10);
      }
    }));

  it("answers a probe that names no sender", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.send("a", ask("10.244.1.3", { spa: "0.0.0.0" }));
      await lab.wait(10);
    }));

  it("does not answer someone who claims to be the host itself", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.send("a", ask("10.244.1.3", { spa: "10.244.1.3" }));
      await lab.send("a", ask("10.244.1.1", { spa: "192.168.0.11" }));
      await lab.wait(10);
    }));

  it("takes no notice of gratuitous and unsolicited packets from strangers", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.send("a", ask(A.address));
      await lab.send("a", ask(A.address, { op: 2, tha: GATEWAY_MAC["node-1"], to: GATEWAY_MAC["node-1"] }));
      await lab.send("a", ask(A.address, { op: 2, tha: BROADCAST }));
      await lab.wait(10);
    }));
});

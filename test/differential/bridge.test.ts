import { describe, it } from "vitest";
import { arpFrame, BROADCAST, echoPacket, ether, pattern, udpPacket } from "./frames.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const { a: A, b: B } = PODS;
const STRANGER = "0a:58:0a:f4:01:99";
const toB = (from: string, id = 1): Uint8Array =>
  ether(B.mac, from, 0x0800, udpPacket({ src: A.address, dst: B.address, id }, 40000, 9, pattern(4)));

describe("a bridge as Linux runs it", () => {
  it("floods what it does not know, and no longer once it has learned", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.send("a", toB(A.mac));
      await lab.wait(10);
      await lab.send("a", toB(A.mac, 2));
      await lab.wait(10);
      await lab.send(
        "a",
        ether(STRANGER, A.mac, 0x0800, udpPacket({ src: A.address, dst: B.address }, 1, 2, pattern(4))),
      );
      await lab.wait(10);
    }));

  it("follows a MAC that moves to another port", (context) =>
    sameAsLinux(context, async (lab) => {
      const say = (mac: string): Uint8Array => arpFrame({ sha: mac, spa: "10.244.1.50", tpa: "10.244.1.51" });
      await lab.send("a", say(STRANGER));
      await lab.wait(10);
      await lab.send("b", ether(STRANGER, B.mac, 0x88b5, pattern(46)));
      await lab.wait(10);
      await lab.send("b", say(STRANGER));
      await lab.wait(10);
      await lab.send("a", ether(STRANGER, A.mac, 0x88b5, pattern(46)));
      await lab.wait(10);
    }));

  it("sends nothing back by the port that it came from, but on a hairpin port", (context) =>
    sameAsLinux(context, async (lab) => {
      const self = ether(A.mac, STRANGER, 0x88b5, pattern(46));
      await lab.send("a", ether(BROADCAST, A.mac, 0x88b5, pattern(46)));
      await lab.send("a", self);
      await lab.wait(10);
      await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "vetha", hairpin: true }]);
      await lab.send("a", self);
      await lab.send("a", ether(BROADCAST, A.mac, 0x88b5, pattern(46)));
      await lab.wait(10);
    }));

  it("keeps isolated ports apart, but not from the host", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.apply("node-1", [
        { op: "link.set", netns: "host", name: "vetha", isolated: true },
        { op: "link.set", netns: "host", name: "vethb", isolated: true },
      ]);
      await lab.send("a", arpFrame({ sha: A.mac, spa: A.address, tpa: B.address }));
      await lab.send("a", toB(A.mac));
      await lab.send(
        "a",
        ether(
          GATEWAY_MAC["node-1"],
          A.mac,
          0x0800,
          echoPacket({ src: A.address, dst: "10.244.1.1" }, 1, 1, pattern(8)),
        ),
      );
      await lab.wait(10);
    }));

  it("takes frames for its own MAC and for a port's, and none that come from them", (context) =>
    sameAsLinux(context, async (lab) => {
      const ping = echoPacket({ src: A.address, dst: "10.244.1.1" }, 1, 1, pattern(8));
      await lab.send("a", ether("0a:58:ff:00:01:0b", A.mac, 0x0800, ping));
      await lab.wait(10);
      await lab.send("a", ether(B.mac, GATEWAY_MAC["node-1"], 0x88b5, pattern(46)));
      await lab.send("a", ether(B.mac, "01:00:5e:00:00:01", 0x88b5, pattern(46)));
      await lab.send("a", ether(B.mac, "00:00:00:00:00:00", 0x88b5, pattern(46)));
      await lab.wait(10);
    }));

  it("does not forward what is reserved for bridges themselves", (context) =>
    sameAsLinux(context, async (lab) => {
      for (const last of ["00", "01", "0e"]) {
        await lab.send("a", ether(`01:80:c2:00:00:${last}`, A.mac, 0x88b5, pattern(46)));
      }
      await lab.send("a", ether("01:80:c2:00:00:10", A.mac, 0x88b5, pattern(46)));
      await lab.wait(10);
    }));

  it("drops a frame that is longer than the next port takes", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.send("a", toB(A.mac));
      await lab.send("b", toB(B.mac));
      await lab.wait(10);
      await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "vethb", mtu: 1000 }]);
      for (const length of [972, 973, 976, 977]) {
        await lab.send(
          "a",
          ether(
            B.mac,
            A.mac,
            0x0800,
            udpPacket({ src: A.address, dst: B.address, id: length }, 40000, 9, pattern(length)),
          ),
        );
        await lab.wait(10);
      }
    }));
});

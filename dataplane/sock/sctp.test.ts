import { describe, expect, it } from "vitest";
import { twoNodes } from "../../bench/layouts/two-nodes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";
import { ANY } from "./port-table.ts";
import { SctpAssociation, type SctpFailure, SctpListener } from "./sctp.ts";

const TO = ipv4("10.244.2.2");

type Heard = { connected: number; failed: SctpFailure[] };

function connect(heard: Heard, ns: Parameters<typeof SctpAssociation.connect>[0]): SctpAssociation {
  const a = SctpAssociation.connect(ns, TO, 9000, {
    connected: () => {
      heard.connected++;
    },
    failed: (_a, why) => void heard.failed.push(why),
  });
  if (typeof a === "string") throw new Error(a);
  return a;
}

describe("an SCTP association", () => {
  it("begins with four packets and ends with three, and leaves nothing", () => {
    const { world, pods } = twoNodes();
    const heard: Heard = { connected: 0, failed: [] };
    SctpListener.listen(pods[1], ANY, 9000);
    const a = connect(heard, pods[0]);
    world.loop.runNow();
    expect(heard).toEqual({ connected: 1, failed: [] });
    expect(pods[1].sctp.lookup(TO, 9000, a.local, a.localPort)?.state).toBe("ESTABLISHED");
    a.close();
    world.loop.runNow();
    expect(a.state).toBe("CLOSED");
    expect(pods[1].sctp.lookup(TO, 9000, a.local, a.localPort)).toBeUndefined();
    world.loop.run();
    expect(world.pool.live).toBe(0);
  });

  it("is refused by ABORT where nothing listens on the port, and by ICMP where nothing speaks SCTP", () => {
    const { world, pods } = twoNodes();
    const heard: Heard = { connected: 0, failed: [] };
    connect(heard, pods[0]);
    world.loop.runNow();
    expect(pods[1].drops[DropReason.IP_NOPROTO]).toBe(1);
    SctpListener.listen(pods[1], ANY, 9001);
    connect(heard, pods[0]);
    world.loop.runNow();
    expect(pods[1].drops[DropReason.NO_SOCKET]).toBe(1);
    expect(heard).toEqual({ connected: 0, failed: ["ENOPROTOOPT", "ECONNREFUSED"] });
  });

  it("asks again until somebody listens, and gives up in the end", () => {
    const { world, pods } = twoNodes();
    const heard: Heard = { connected: 0, failed: [] };
    const veth = [...pods[1].devs.values()].find((d) => d.name === "eth0");
    if (veth === undefined) throw new Error("no eth0");
    veth.up = false;
    connect(heard, pods[0]);
    world.loop.run({ deadline: world.loop.time + 2_000 });
    veth.up = true;
    SctpListener.listen(pods[1], ANY, 9000);
    world.loop.run({ deadline: world.loop.time + 2_000 });
    expect(heard).toEqual({ connected: 1, failed: [] });
    veth.up = false;
    connect(heard, pods[0]);
    world.loop.run({ deadline: world.loop.time + 600_000 });
    expect(heard.failed).toHaveLength(1);
  });

  it("is not ended by who does not know its tag", () => {
    const { world, pods } = twoNodes();
    const heard: Heard = { connected: 0, failed: [] };
    SctpListener.listen(pods[1], ANY, 9000);
    const a = connect(heard, pods[0]);
    world.loop.runNow();
    const peer = pods[1].sctp.lookup(TO, 9000, a.local, a.localPort);
    expect(peer?.tag).not.toBe(a.tag);
    peer?.abort();
    world.loop.runNow();
    expect(heard.failed).toEqual(["ECONNRESET"]);
  });
});

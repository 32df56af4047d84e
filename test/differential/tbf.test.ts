/** The token bucket against the kernel's: so many packets at once, and how many it sends, holds and drops. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { EmulatedBackend } from "../../backend/emulated.ts";
import { throwAwayKernel } from "../../backend/kernel/throw-away.ts";
import type { Backend } from "../../backend/ops.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { missing } from "../support/needs.ts";

const reason = missing("root", "netns", "nsenter", "bash");
/** Ethernet, IPv4 and UDP: what the kernel's packets have before their payload. */
const HEADERS = 14 + 20 + 8;
const PACKETS = 30;

type Row = { readonly rate: number; readonly burst: number; readonly limit: number; readonly payload: number };
/** So slow that a test's few milliseconds make no packet more. */
const ROWS: readonly Row[] = [
  { rate: 1000, burst: 4000, limit: 6000, payload: 958 },
  { rate: 1000, burst: 4000, limit: 6000, payload: 959 },
  { rate: 1000, burst: 3800, limit: 5999, payload: 958 },
  { rate: 1000, burst: 1500, limit: 0, payload: 600 },
  { rate: 1000, burst: 1500, limit: 3200, payload: 600 },
  { rate: 1000, burst: 500, limit: 6000, payload: 459 },
  // what takes more than 4.29 seconds to send is too long for any burst
  { rate: 100, burst: 5000, limit: 6000, payload: 150 },
  { rate: 100, burst: 5000, limit: 6000, payload: 958 },
];

async function wire(backend: Backend, { rate, burst, limit }: Row): Promise<void> {
  const pod = await backend.addNetns("pod");
  const peer = { name: "eth0", netns: pod, mac: "0a:00:00:00:00:02", up: true };
  const ops: readonly RtnlOp[] = [
    { op: "link.add", netns: "host", name: "v0", kind: "veth", up: true, peer },
    { op: "addr.add", netns: "host", dev: "v0", address: "10.9.0.1/24" },
    { op: "neigh.replace", netns: "host", dev: "v0", address: "10.9.0.2", mac: "0a:00:00:00:00:02" },
  ];
  await backend.apply(ops);
  await backend
    .apply([{ op: "sysctl.set", netns: "host", key: "net.ipv6.conf.v0.disable_ipv6", value: "1" }])
    .catch(() => {});
  await backend.apply([{ op: "qdisc.add", netns: "host", dev: "v0", kind: "tbf", rate, burst, limit }]);
}

async function counted(backend: Backend): Promise<{ readonly sent: number; readonly drops: number }> {
  const [qdisc] = await backend.qdiscs("host", "v0");
  if (qdisc?.kind !== "tbf") throw new Error("v0 has no tbf");
  return { sent: qdisc.sent, drops: qdisc.drops };
}

async function onKernel(row: Row): Promise<unknown> {
  const kernel = await throwAwayKernel();
  try {
    await wire(kernel.backend, row);
    const script = `x=$(printf '%0${row.payload}d'); for i in {1..${PACKETS}}; do echo -n $x >/dev/udp/10.9.0.2/9; done`;
    spawnSync("nsenter", [`--net=${kernel.host}`, "bash", "-c", script]);
    return await counted(kernel.backend);
  } finally {
    await kernel.dispose();
  }
}

async function emulated(row: Row): Promise<unknown> {
  const world = new World(1);
  const host = new Host(world, "node");
  const backend = new EmulatedBackend(host);
  await wire(backend, row);
  const dev = host.root.dev("v0") as NetDev;
  for (let i = 0; i < PACKETS; i++) {
    const skb = world.pool.alloc(HEADERS + row.payload);
    ethernet.write(skb.buf, skb.data, dev.mac, dev.mac, 0x88b5);
    skb.end = skb.data + HEADERS + row.payload;
    skb.mac = skb.data;
    dev.transmit(skb);
  }
  world.loop.runNow();
  return counted(backend);
}

describe("a token bucket does as Linux", () => {
  it.for(ROWS)("with $burst octets at once, $limit that wait, and packets of $payload", async (row, { skip }) => {
    skip(reason !== null, reason ?? "");
    expect(await emulated(row)).toEqual(await onKernel(row));
  });
});

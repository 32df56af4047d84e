import { describe, it } from "vitest";
import * as tcp from "../../dataplane/wire/tcp.ts";
import { cut, echoPacket, ether, pattern, tcpPacket, udpPacket } from "./frames.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, type Place, PODS } from "./layout.ts";
import { sameAsLinux, type Walk } from "./same-as-linux.ts";

const A = PODS.a;
const GATEWAY = GATEWAY_MAC["node-1"];
const REQUEST = "GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n";
const RESPONSE = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";

type Service = {
  readonly id: string;
  readonly ip: string;
  readonly proto: "tcp" | "udp";
  readonly port: number;
  readonly to: string | null;
};

/** One endpoint each, so that nothing is left to chance. */
const SERVICES: readonly Service[] = [
  { id: "FAR", ip: "10.96.0.10", proto: "tcp", port: 80, to: "10.244.2.2:8080" },
  { id: "FARDNS", ip: "10.96.0.11", proto: "udp", port: 53, to: "10.244.2.2:5353" },
  { id: "NEAR", ip: "10.96.0.12", proto: "tcp", port: 80, to: "10.244.1.3:8080" },
  { id: "NEARDNS", ip: "10.96.0.13", proto: "udp", port: 53, to: "10.244.1.3:5353" },
  { id: "SELF", ip: "10.96.0.14", proto: "tcp", port: 80, to: "10.244.1.2:8080" },
  { id: "SELFDNS", ip: "10.96.0.15", proto: "udp", port: 53, to: "10.244.1.2:5353" },
  { id: "NONE", ip: "10.96.0.16", proto: "tcp", port: 80, to: null },
  { id: "NONEDNS", ip: "10.96.0.17", proto: "udp", port: 53, to: null },
];

/** kube-proxy's rules for the services and flannel's for its network; source ports are kept where they are free. */
function rules(): string {
  const nat: string[] = [];
  const chains: string[] = [];
  const refusals: string[] = [];
  for (const s of SERVICES) {
    const match = `-d ${s.ip}/32 -p ${s.proto} -m comment --comment "default/${s.id.toLowerCase()} cluster IP" -m ${s.proto} --dport ${s.port}`;
    if (s.to === null) {
      refusals.push(`-A KUBE-SERVICES ${match} -j REJECT --reject-with icmp-port-unreachable`);
      continue;
    }
    const [svc, sep] = [`KUBE-SVC-${s.id}`, `KUBE-SEP-${s.id}`];
    chains.push(`:${svc} - [0:0]`, `:${sep} - [0:0]`);
    nat.push(
      `-A KUBE-SERVICES ${match} -j ${svc}`,
      `-A ${svc} ! -s 10.244.0.0/16 -d ${s.ip}/32 -p ${s.proto} -m ${s.proto} --dport ${s.port} -j KUBE-MARK-MASQ`,
      `-A ${svc} -j ${sep}`,
      `-A ${sep} -s ${s.to.split(":")[0]}/32 -j KUBE-MARK-MASQ`,
      `-A ${sep} -p ${s.proto} -m ${s.proto} -j DNAT --to-destination ${s.to}`,
    );
  }
  return [
    "*filter",
    ":KUBE-SERVICES - [0:0]",
    ":KUBE-FORWARD - [0:0]",
    ":FLANNEL-FWD - [0:0]",
    "-A INPUT -m conntrack --ctstate NEW -j KUBE-SERVICES",
    '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
    "-A FORWARD -j KUBE-FORWARD",
    "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
    "-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES",
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
    "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FLANNEL-FWD -s 10.244.99.0/24 -j ACCEPT",
    ...refusals,
    "COMMIT",
    "*nat",
    ":KUBE-SERVICES - [0:0]",
    ":KUBE-POSTROUTING - [0:0]",
    ":KUBE-MARK-MASQ - [0:0]",
    ":FLANNEL-POSTRTG - [0:0]",
    ...chains,
    "-A PREROUTING -j KUBE-SERVICES",
    "-A OUTPUT -j KUBE-SERVICES",
    "-A POSTROUTING -j KUBE-POSTROUTING",
    "-A POSTROUTING -j FLANNEL-POSTRTG",
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
    "-A KUBE-POSTROUTING -j MASQUERADE",
    "-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
    "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE",
    ...nat,
    "COMMIT",
    "",
  ].join("\n");
}

/** The walk on nodes that have the rules. */
function proxied(walk: Walk): Walk {
  return async (lab) => {
    for (const node of ["node-1", "node-2"] as const) {
      await lab.apply(node, [
        { op: "sysctl.set", netns: "host", key: "net.bridge.bridge-nf-call-iptables", value: "1" },
        { op: "route.add", netns: "host", dst: "default", via: "192.168.0.1" },
        { op: "iptables.restore", netns: "host", family: "ipv4", text: rules(), noflush: false },
      ]);
    }
    await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "vetha", hairpin: true }]);
    return walk(lab);
  };
}

/**
 * A bridged packet that DNAT leads to a neighbour is sent on the bridge to have its MAC found; Linux then puts the sender's MAC
 * back into octets that the packet socket on the bridge still shares, so what is seen there depends on who is first.
 */
const SHARED = ["node-1/cni0"];

/** The same with fragments, which Linux puts together and rewrites in place: these see octets of a later hop. */
const CUT = [...SHARED, "node-1/eth0", "node-2/eth0", "node-1/flannel.1", "node-2/flannel.1", "b/eth0", "node-1/vethb"];

const needs = ["iptables-restore"];

async function send(lab: Lab, packet: Uint8Array, ms = 10): Promise<void> {
  await lab.send("a", ether(GATEWAY, A.mac, 0x0800, packet));
  await lab.wait(ms);
}

/** Any way to reach a service by HTTP, and by UDP. */
function http(server: Place, from: Place, ip: string): Walk {
  return proxied(async (lab) => {
    await lab.tcpServe(server, 8080, RESPONSE);
    const got = await lab.tcpRequest(from, 40001, ip, 80, REQUEST);
    await lab.wait(30);
    return got;
  });
}
function dns(server: Place, from: Place, ip: string): Walk {
  return proxied(async (lab) => {
    await lab.udpBind(server, 5353, true);
    await lab.udpBind(from, 40000, false);
    for (const text of ["question", "another"]) {
      await lab.udpSend(from, 40000, ip, 53, text);
      await lab.wait(10);
    }
  });
}

describe("ClusterIPs as Linux leads them", () => {
  for (const [what, server, from, tcpIp, udpIp] of [
    ["to a pod of another node", "c", "a", "10.96.0.10", "10.96.0.11"],
    ["to a pod of the same node", "b", "a", "10.96.0.12", "10.96.0.13"],
    ["to the pod that asks", "a", "a", "10.96.0.14", "10.96.0.15"],
    ["from a node to a pod elsewhere", "c", "node-1", "10.96.0.10", "10.96.0.11"],
    ["from a node to its own pod", "b", "node-1", "10.96.0.12", "10.96.0.13"],
    ["from another node to a pod", "b", "node-2", "10.96.0.12", "10.96.0.13"],
  ] as const) {
    it(`HTTP ${what}`, (context) =>
      sameAsLinux(context, http(server, from, tcpIp), { needs, atLeast: 20, sockets: true, without: SHARED }));
    it(`UDP ${what}`, (context) =>
      sameAsLinux(context, dns(server, from, udpIp), { needs, atLeast: 10, without: SHARED }));
  }

  it("without endpoints: refused with port unreachable, from a pod and from a node", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        await send(
          lab,
          tcpPacket({ src: A.address, dst: "10.96.0.16", df: true }, { from: 40001, to: 80, flags: tcp.SYN }),
        );
        await send(lab, udpPacket({ src: A.address, dst: "10.96.0.17" }, 40001, 53, pattern(700)));
        const answers = [await lab.tcpRequest("a", 40002, "10.96.0.16", 80, REQUEST)];
        answers.push(await lab.tcpRequest("node-1", 40003, "10.96.0.16", 80, REQUEST));
        await lab.wait(10);
        return answers;
      }),
      { needs, atLeast: 10 },
    ));

  it("an endpoint that refuses: the reset and the ICMP error come back from the service", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        const answers = [];
        for (const [port, ip] of [
          [40001, "10.96.0.10"],
          [40002, "10.96.0.12"],
          [40003, "10.96.0.14"],
        ] as const) {
          answers.push(await lab.tcpRequest("a", port, ip, 80, REQUEST));
          await lab.wait(10);
        }
        for (const dst of ["10.96.0.11", "10.96.0.13", "10.96.0.15"]) {
          await send(lab, udpPacket({ src: A.address, dst }, 40005, 53, pattern(20)));
        }
        return answers;
      }),
      { needs, atLeast: 40, without: SHARED },
    ));

  it("TTL expiry and oversize on the way quote the service's address", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        for (const ttl of [1, 2])
          await send(lab, udpPacket({ src: A.address, dst: "10.96.0.11", ttl }, 40000 + ttl, 53, pattern(20)));
        await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "flannel.1", mtu: 1400 }]);
        await send(lab, udpPacket({ src: A.address, dst: "10.96.0.11", df: true }, 40009, 53, pattern(1400)));
        await send(
          lab,
          tcpPacket(
            { src: A.address, dst: "10.96.0.10", df: true },
            { from: 40009, to: 80, flags: tcp.SYN },
            pattern(1390),
          ),
        );
      }),
      { needs, atLeast: 10 },
    ));

  it("a port that the service does not have", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        await send(lab, tcpPacket({ src: A.address, dst: "10.96.0.10" }, { from: 40001, to: 81, flags: tcp.SYN }));
        await send(lab, echoPacket({ src: A.address, dst: "10.96.0.10" }, 1, 1, pattern(8)));
      }),
      { needs },
    ));
});

describe("the rest of the network while rules are in place", () => {
  it("pods reach each other as before, and the node's network masqueraded", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        for (const dst of ["10.244.2.2", "10.244.1.1", "192.168.0.12", "192.168.0.11"]) {
          await send(lab, echoPacket({ src: A.address, dst }, 7, 1, pattern(20)));
        }
        await lab.udpBind("node-2", 5353, true);
        await send(lab, udpPacket({ src: A.address, dst: "192.168.0.12" }, 40000, 5353, pattern(20)));
        await send(lab, udpPacket({ src: A.address, dst: "192.168.0.12" }, 40000, 9, pattern(20)));
        await send(lab, udpPacket({ src: A.address, dst: "192.168.0.12", ttl: 1 }, 40000, 9, pattern(20)));
      }),
      { needs, atLeast: 30 },
    ));

  it("pods of one node talk over the bridge through the rules", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        await lab.udpBind("b", 5353, true);
        await lab.udpBind("a", 40000, false);
        await lab.udpSend("a", 40000, "10.244.1.3", 5353, "hello");
        await lab.wait(10);
        await lab.udpSend("a", 40000, "10.244.1.3", 9, "hello");
        await lab.wait(10);
      }),
      { needs, atLeast: 10 },
    ));

  it("fragments are put together, and cut again as they were", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        await lab.udpBind("c", 5353, true);
        await lab.udpBind("b", 5353, true);
        const targets = ["10.244.2.2", "10.96.0.11", "10.96.0.13", "10.244.1.1"];
        for (const [i, dst] of targets.entries()) {
          const port = dst.startsWith("10.96") ? 53 : 5353;
          const packet = udpPacket({ src: A.address, dst, id: 500 + i }, 40000 + i, port, pattern(2000));
          for (const part of cut(packet, 1400)) await lab.send("a", ether(GATEWAY, A.mac, 0x0800, part));
          await lab.wait(10);
        }
        const packet = udpPacket({ src: A.address, dst: "10.244.1.3", id: 510 }, 40010, 5353, pattern(2000));
        for (const part of cut(packet, 1200)) await lab.send("a", ether(PODS.b.mac, A.mac, 0x0800, part));
        await lab.wait(10);
      }),
      { needs, atLeast: 20, without: CUT },
    ));

  it("segments that belong to no connection are dropped where they would be forwarded", (context) =>
    sameAsLinux(
      context,
      proxied(async (lab) => {
        const bad = tcpPacket({ src: A.address, dst: "10.244.2.2" }, { from: 40001, to: 80, flags: tcp.SYN | tcp.FIN });
        await send(lab, bad);
        await send(
          lab,
          tcpPacket({ src: A.address, dst: "10.244.2.2" }, { from: 40002, to: 80, flags: tcp.ACK, ack: 9 }),
        );
        await send(lab, tcpPacket({ src: A.address, dst: "10.244.2.2" }, { from: 40003, to: 80, flags: tcp.RST }));
      }),
      { needs },
    ));
});

import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { backendContract } from "./backend.contract.ts";
import { FakeBackend } from "./fake.ts";
import { SocketBackend } from "./socket.ts";
import { type BackendServer, serve } from "./socket-server.ts";

backendContract("SocketBackend", async () => {
  const dir = mkdtempSync(join(tmpdir(), "podwire-socket-"));
  const server = await serve(new FakeBackend(), join(dir, "node.sock"));
  const backend = await SocketBackend.connect(server.path);
  return {
    backend,
    dispose: async () => {
      await backend.close();
      await server.close();
      rmSync(dir, { recursive: true });
    },
  };
});

describe("a served backend", () => {
  let dir = "";
  let fake: FakeBackend;
  let server: BackendServer;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "podwire-socket-"));
    fake = new FakeBackend();
    server = await serve(fake, join(dir, "node.sock"));
  });
  afterEach(async () => {
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Sends lines and collects as many answers as asked for. */
  function exchange(lines: readonly string[], answers: number): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(server.path);
      let text = "";
      socket.setEncoding("utf8").on("data", (part: string) => {
        text += part;
        const got = text.split("\n").slice(0, -1);
        if (got.length < answers) return;
        socket.destroy();
        resolve(got.map((line) => JSON.parse(line)));
      });
      socket.on("error", reject);
      for (const line of lines) socket.write(`${line}\n`);
    });
  }

  it("answers malformed lines and goes on", async () => {
    const got = await exchange(
      [
        "{oops",
        "7",
        '{"method":"links"}',
        '{"id":4,"method":"reboot","params":[]}',
        '{"id":5,"method":"hasNetns","params":["host"]}',
      ],
      5,
    );
    expect(got).toEqual([
      { id: null, error: { code: "MALFORMED", message: "request: not JSON" } },
      { id: null, error: { code: "MALFORMED", message: "request: not an object" } },
      { id: null, error: { code: "MALFORMED", message: "request: id is not a number" } },
      { id: null, error: { code: "MALFORMED", message: 'request: method "reboot" is not known' } },
      { id: 5, result: true },
    ]);
  });

  it("answers bad parameters with EINVAL", async () => {
    const got = await exchange(['{"id":1,"method":"links","params":[]}', '{"id":2,"method":"apply","params":[{}]}'], 2);
    expect(got).toEqual([
      { id: 1, error: { code: "EINVAL", message: "links: found nothing, expected text" } },
      { id: 2, error: { code: "EINVAL", message: "apply: expected a list of operations" } },
    ]);
  });

  it("takes a request in pieces, many at once and from many clients", async () => {
    const clients = await Promise.all(Array.from({ length: 5 }, () => SocketBackend.connect(server.path)));
    const paths = await Promise.all(clients.flatMap((c, i) => [0, 1, 2].map((j) => c.addNetns(`pod-${i}-${j}`))));
    expect(new Set(paths).size).toBe(15);
    expect(await Promise.all(paths.map((p) => fake.hasNetns(p)))).toEqual(paths.map(() => true));
    await Promise.all(clients.map((c) => c.close()));
  });

  it("knows a sandbox by the name that the other side gave it", async () => {
    const client = await SocketBackend.connect(server.path);
    const netns = await client.addNetns("pod");
    client.alias("/tmp/sandbox-file", netns);
    await client.apply([
      { op: "link.add", netns: "host", name: "br0", kind: "bridge" },
      { op: "link.add", netns: "host", name: "v0", kind: "veth", peer: { name: "eth0", netns: "/tmp/sandbox-file" } },
      { op: "link.add", netns: "host", name: "d0", kind: "dummy" },
      { op: "link.set", netns: "host", name: "d0", toNetns: "/tmp/sandbox-file" },
    ]);
    expect((await client.links("/tmp/sandbox-file")).map((l) => l.name)).toEqual(["lo", "eth0", "d0"]);
    await client.close();
  });

  it("fails what is under way when it goes, and what comes after", async () => {
    const client = await SocketBackend.connect(server.path);
    await server.close();
    await expect(client.links("host")).rejects.toMatchObject({ name: "SocketBackendError" });
    await expect(client.links("host")).rejects.toMatchObject({ name: "SocketBackendError" });
    server = await serve(fake, join(dir, "node.sock"));
  });

  it("says when nobody listens", async () => {
    await expect(SocketBackend.connect(join(dir, "none.sock"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("keeps the socket to its owner and removes it at the end", async () => {
    expect(statSync(server.path).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(server.path)).toBe(false);
    server = await serve(fake, join(dir, "node.sock"));
  });

  it("does not take the place of a living server or of a file", async () => {
    await expect(serve(fake, server.path)).rejects.toMatchObject({ code: "EADDRINUSE" });
    const file = join(dir, "file");
    writeFileSync(file, "");
    await expect(serve(fake, file)).rejects.toMatchObject({ code: "EEXIST" });
  });
});

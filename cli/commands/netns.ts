/** `podwire netns`: sandboxes in a running emulator, for CNI executables started by hand. */
import { rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { readSandbox, writeSandboxFile } from "../../backend/sandbox-file.ts";
import { SocketBackend } from "../../backend/socket.ts";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { OK, UsageError } from "../exit.ts";
import { table } from "../print.ts";
import { DEFAULT_RUN_DIR } from "./up.ts";

type Flags = { readonly run: string; readonly node: string };

export function netnsCommand(end: (code: number) => void): Command {
  const netns = new Command("netns").description("make, show and remove sandboxes of a running emulator (podwire up)");
  const withRun = (command: Command): Command =>
    command.option("--run <dir>", "the directory that `podwire up` was given", DEFAULT_RUN_DIR);
  netns.addCommand(
    withRun(new Command("add"))
      .description("make an empty sandbox and print the path to use as CNI_NETNS")
      .argument("<name>")
      .option("--node <name>", "on which node", "node-1")
      .action(async (name: string, flags: Flags) => end(await add(name, flags))),
  );
  netns.addCommand(
    withRun(new Command("show"))
      .description("links, addresses and routes of a sandbox")
      .argument("<name>")
      .action(async (name: string, flags: Flags) => end(await show(name, flags))),
  );
  netns.addCommand(
    withRun(new Command("del"))
      .description("remove a sandbox with all that is in it")
      .argument("<name>")
      .action(async (name: string, flags: Flags) => end(await del(name, flags))),
  );
  return netns;
}

function fileOf(name: string, flags: Flags): string {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new UsageError(`sandbox name: found ${JSON.stringify(name)}, expected letters, digits, _ . and -`);
  }
  return join(resolve(flags.run), "netns", name);
}

async function connect(socket: string): Promise<SocketBackend> {
  try {
    return await SocketBackend.connect(socket);
  } catch (cause) {
    throw new UsageError(`socket ${socket}: nobody answers; is \`podwire up\` running?`, { cause });
  }
}

async function add(name: string, flags: Flags): Promise<number> {
  const file = fileOf(name, flags);
  const socket = join(resolve(flags.run), `${flags.node}.sock`);
  const backend = await connect(socket);
  try {
    const netns = await backend.addNetns(name);
    await writeSandboxFile(file, { socket, netns });
  } catch (cause) {
    if (cause instanceof NetlinkError) throw new UsageError(cause.message, { cause });
    throw cause;
  } finally {
    await backend.close();
  }
  process.stdout.write(`${file}\n`);
  return OK;
}

async function opened(name: string, flags: Flags): Promise<{ backend: SocketBackend; netns: string; file: string }> {
  const file = fileOf(name, flags);
  const sandbox = await readSandbox(file);
  if (sandbox.kind !== "podwire")
    throw new UsageError(`sandbox ${file}: found nothing, expected a sandbox of netns add`);
  return { backend: await connect(sandbox.socket), netns: sandbox.netns, file };
}

async function show(name: string, flags: Flags): Promise<number> {
  const { backend, netns } = await opened(name, flags);
  try {
    const [links, addrs, routes] = [
      await backend.links(netns),
      await backend.addrs(netns),
      await backend.routes(netns),
    ];
    const rows = links.map((l) => {
      const own = addrs.filter((a) => a.dev === l.name).map((a) => a.address);
      return [l.name, l.kind, l.up ? "UP" : "DOWN", l.mac, `mtu ${l.mtu}`, own.join(" ")];
    });
    process.stdout.write(table(rows));
    for (const r of routes) {
      const words = [r.dst, r.via === undefined ? "" : `via ${r.via}`, r.dev === undefined ? "" : `dev ${r.dev}`];
      process.stdout.write(`route ${words.filter((w) => w !== "").join(" ")}\n`);
    }
  } finally {
    await backend.close();
  }
  return OK;
}

async function del(name: string, flags: Flags): Promise<number> {
  const { backend, netns, file } = await opened(name, flags);
  try {
    await backend.delNetns(netns);
  } finally {
    await backend.close();
  }
  rmSync(file, { force: true });
  return OK;
}

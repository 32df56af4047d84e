/** The MAC address that somebody asks for; the runtime's own word wins over arguments. */
import { parseMac } from "../../dataplane/wire/mac-addr.ts";
import { badField, type Fields } from "./fields.ts";

/** runtimeConfig over args.cni over CNI_ARGS. */
export function parseMacRequest(fields: Fields, cniArgs: ReadonlyMap<string, string>): string | undefined {
  const asked = [
    { where: "runtimeConfig.mac", text: fields.object("runtimeConfig")?.text("mac") },
    { where: "args.cni.mac", text: fields.object("args")?.object("cni")?.text("mac") },
    { where: "CNI_ARGS MAC", text: cniArgs.get("MAC") },
  ].find(({ text }) => text !== undefined && text !== "");
  if (asked?.text === undefined) return undefined;
  if (parseMac(asked.text) === undefined)
    throw badField(asked.where, asked.text, "a MAC address such as 0a:58:0a:01:00:05");
  return asked.text.toLowerCase();
}
